//! Why a test failed.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    panic::{self, Location, PanicHookInfo},
};

/// What a test answers. The error is made from anything that can be displayed, so `?` works on every error.
pub type TestResult = Result<(), Failed>;

/// Why a test failed, and where it was said.
///
/// Made by `?`, by `Err("reason".into())` or by `Err(format!(..).into())`. The place is that of the `?` or the `into`.
/// An error that shows its causes in the form `{:#}`, as `anyhow::Error` does, is shown with them.
pub struct Failed {
    reason: String,
}

impl<E: fmt::Display> From<E> for Failed {
    #[track_caller]
    fn from(error: E) -> Failed {
        let place = Location::caller();
        Failed { reason: format!("failed at {place}:\n{error:#}") }
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Failed {
    /// A reason that already says all, and comes from no line of the test.
    pub(crate) fn because(reason: String) -> Failed {
        Failed { reason }
    }

    pub(crate) fn into_reason(self) -> String {
        self.reason
    }
}

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on the place of a panic is kept for [`caught`] in its thread. What was done with panics before is still done.
pub(crate) fn keep_places_of_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        PLACE.set(info.location().map(ToString::to_string));
        before(info);
    }));
}

/// Runs `body`; a panic of it is an answer too.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    PLACE.set(None);
    panic::catch_unwind(panic::AssertUnwindSafe(body)).map_err(|payload| {
        let said = said(&*payload);
        match PLACE.take() {
            Some(place) => format!("panicked at {place}:\n{said}"),
            // A panic of another thread that was resumed in this one: only that thread had the place.
            None => format!("panicked: {said}"),
        }
    })
}

fn said(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a value that is no text)"
    }
}
