//! Running a task for whoever started it, and telling the result.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use fedist_registry::{LocalId, RegionId, RegionPid, service};
use futures_util::{
    FutureExt,
    future::{AbortHandle, Abortable, Either, select},
};

use super::{
    book::Running,
    cx::{Control, TaskCx},
    refusal::StartRefused,
    service::{Hold, Outcome, StartTask, TaskDone, TaskPrint},
};
use crate::{
    ExitReason, Node, PidSend, SendError,
    exit::panic_text,
    origin::Origin,
    process::{Body, Process, ProcessFuture},
};

/// A task has no mailbox: it is only ended and watched.
struct TaskBody;

impl Body for TaskBody {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// The book's entry of a running task: gone with its future.
struct Entry {
    node: Node,
    local: LocalId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.node.inner().tasks.remove_running(self.local.get());
    }
}

impl Node {
    /// Starts a task under a pid of its own, on one of the task threads.
    pub(super) fn run_task(
        &self,
        caller: RegionId,
        start: StartTask,
    ) -> Result<RegionPid, StartRefused> {
        let inner = self.inner();
        let runner = inner.tasks.offers.task(&start.name, start.version)?;
        let local = self.next_local().map_err(|error| StartRefused::NoPid(error.to_string()))?;
        let pid = RegionPid::new(self.region(), local);
        let (abort, registration) = AbortHandle::new_pair();
        let control = Arc::new(Control::new(abort));
        let (reference, hold, input) = (start.reference, start.hold, start.input);
        let linked = start.link.filter(|linked| linked.region() == caller);
        inner.tasks.add_running(
            local.get(),
            Running {
                caller,
                reference,
                bound: hold == Hold::Bound,
                link: linked.map(|linked| (local, linked)),
                control: Arc::clone(&control),
            },
        )?;
        let process = inner.processes.insert(Process::new(pid, TaskBody));
        process.set_spawned_for(caller);
        if let Some(linked) = linked {
            self.link_spawned(local, linked, start.reference);
        }
        let cx = TaskCx::new(self, pid, caller, reference, control);
        let node = self.clone();
        let entry = Entry { node: self.clone(), local };
        let run = move || {
            let report_to = node.clone();
            let future = async move {
                // Also when the process is ended from outside, which drops this future.
                let entry = entry;
                let output = cx.clone();
                // Made inside of the guard: building the future may panic as well as running it.
                let work = AssertUnwindSafe(async move { runner(cx, input).await }).catch_unwind();
                let ended = Abortable::new(work, registration).await;
                drop(entry);
                let (outcome, panic) = match ended {
                    Ok(Ok(Ok(_))) if hold == Hold::Detached => (Outcome::Ended, None),
                    Ok(Ok(Ok(body))) => (Outcome::Done(body), None),
                    Ok(Ok(Err(text))) => (Outcome::Failed(text), None),
                    Ok(Err(payload)) => (Outcome::Panicked(panic_text(&*payload)), Some(payload)),
                    Err(_aborted) => return ExitReason::Shutdown,
                };
                report_to.report_task(&output, reference, outcome).await;
                if let Some(payload) = panic {
                    // So that whoever monitors the pid sees the panic too.
                    std::panic::resume_unwind(payload);
                }
                ExitReason::Normal
            };
            actix_rt::spawn(ProcessFuture::new(node, process, future));
        };
        let arbiters = &inner.task_arbiters;
        let index = inner.next_arbiter.fetch_add(1, Ordering::Relaxed);
        let accepted = match arbiters.get(index % arbiters.len().max(1)) {
            Some(arbiter) => arbiter.spawn_fn(run),
            None => false,
        };
        if !accepted {
            self.process_ended(local, ExitReason::Shutdown);
            return Err(StartRefused::NoPid("the node is stopping".to_owned()));
        }
        Ok(pid)
    }

    async fn report_task(&self, cx: &TaskCx, reference: u64, outcome: Outcome) {
        let caller = cx.caller();
        let service = RegionPid::new(caller, service::TASKS);
        let (lines, lost_lines) = cx.rest_of_output();
        let done = |outcome| TaskDone { reference, outcome, lost_lines, origin: Origin::here() };
        // While there is no route output and result wait; the end of the session lets them go.
        let sent = async {
            if !lines.is_empty() {
                let print = TaskPrint { reference, lines, origin: Origin::here() };
                let _ = self.tell_when_routed(service, print).await;
            }
            self.tell_when_routed(service, done(outcome)).await
        };
        let lost = self.until_session_ends(caller);
        let refused = match select(std::pin::pin!(sent), std::pin::pin!(lost)).await {
            Either::Left((sent, _)) => sent.err(),
            Either::Right(_) => return,
        };
        let Some(error) = refused else { return };
        let reason = match &error {
            SendError::TooLarge { len, max, .. } => {
                Outcome::TooLarge { len: *len as u64, max: *max as u64 }
            }
            other => Outcome::Failed(other.to_string()),
        };
        tracing::warn!(%caller, %error, "a task's result could not be sent");
        if service.tell(self, done(reason)).await.is_err() {
            tracing::debug!(%caller, "nor could the reason");
        }
    }

    /// Resolves when nothing is expected to get to `region` any more: the session's time-out has passed.
    pub(super) async fn until_session_ends(&self, region: RegionId) {
        if region == self.region() {
            return std::future::pending().await;
        }
        self.sleep(self.inner().session_timeout).await;
    }
}
