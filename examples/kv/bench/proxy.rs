//! The floor of a hop: a process that passes bytes on, and does nothing else.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::super::say;

/// Forwards until it is killed.
pub(crate) fn run(to: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("forwarder: clients at {}\n", listener.local_addr()?));
        accept(listener, to).await
    })
}

/// Forwards for ever.
pub(crate) async fn accept(listener: TcpListener, to: SocketAddr) -> anyhow::Result<()> {
    loop {
        let (mut client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut server = TcpStream::connect(to).await?;
            server.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
