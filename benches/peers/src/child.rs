//! A process of a run, where it is this program.

use std::io::{Read, Write};

use anyhow::{Result, bail};

use crate::peer;
use crate::run::{Outcome, Role, Run, Said};

/// Does what the driver asks of this process. Comes back only with an error: the driver ends it.
pub(crate) fn perform(run: &Run) -> Result<()> {
    // The driver holds the other end; when it is gone, for whatever reason, so is this process.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let Some(peer) = peer::ALL.iter().find(|peer| peer.name() == run.peer) else {
        bail!("no peer is called {:?}", run.peer);
    };
    let outcome = match &run.role {
        Role::Server => return peer.serve(run),
        Role::Client { server: Some(server) } => peer.measure(run, server)?,
        Role::Client { server: None } => peer.local(run)?,
    };
    done(outcome)
}

/// Tells the driver.
pub(crate) fn say(said: &Said) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, said)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Stays, so that the driver can still read this process's time.
fn done(outcome: Outcome) -> Result<()> {
    say(&Said::Measured(outcome))?;
    loop {
        std::thread::park();
    }
}
