//! Two regions in one process: an actor in one greets a caller in the other.

use fedist::prelude::*;

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "String")]
#[wire(name = "hello.greet", version = 1)]
struct Greet(String);

struct Greeter;

impl Actor for Greeter {
    type Context = Context<Self>;
}

impl Handler<Greet> for Greeter {
    type Result = String;
    fn handle(&mut self, Greet(name): Greet, _: &mut Context<Self>) -> String {
        format!("Hello {name}, this is region 1")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let (home, away) = (RegionId::new(1)?, RegionId::new(2)?);
    let root = Node::builder(home).name("europe").data_dir(dir.path().join("1")).start().await?;
    let leaf = Node::builder(away).under(&root).data_dir(dir.path().join("2")).start().await?;

    let greeter = root.spawn(Greeter)?;
    root.export(&greeter).handles::<Greet>().name("greeter").publish()?;

    let remote: RegionAddr<Greeter> = leaf.lookup("europe/greeter").await?;
    println!("{}", remote.send(Greet("Asia".into())).await?);
    leaf.stop().await;
    root.stop().await;
    Ok(())
}
