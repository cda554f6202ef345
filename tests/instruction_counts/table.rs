//! What was counted, for people and for a comparison with an earlier count.

use std::{fs, path::Path, sync::Mutex};

use serde_json::json;

use crate::ceilings::Part;

static COUNTED: Mutex<Vec<(&'static Part, f64)>> = Mutex::new(Vec::new());

pub(crate) fn note(part: &'static Part, counted: f64) {
    COUNTED.lock().unwrap_or_else(|poison| poison.into_inner()).push((part, counted));
}

/// Prints the counts, if there are any, and writes them down.
pub(crate) fn show() {
    let mut counted = COUNTED.lock().unwrap_or_else(|poison| poison.into_inner());
    if counted.is_empty() {
        return;
    }
    counted.sort_by_key(|(part, _)| part.name);
    println!(
        "\n| instructions per message  | counted | ceiling |\n|:--------------------------|--------:|--------:|"
    );
    for (part, counted) in counted.iter() {
        println!("| {:<25} | {counted:>7.0} | {:>7.0} |", part.name, part.ceiling);
    }
    // The form of the report's array, so that the same comparison reads both.
    let rows: Vec<_> = counted
        .iter()
        .map(|(part, counted)| {
            json!({
                "name": format!("instructions/{}", part.name), "fedist": counted, "floor": null, "unit": "instructions",
                "ratio": null, "goal": format!("fedist <= {}", part.ceiling), "ok": *counted <= part.ceiling, "spread": null,
            })
        })
        .collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("instruction-counts.json");
    match fs::write(&path, format!("{:#}\n", json!(rows))) {
        Ok(()) => println!("\nwritten to {}", path.display()),
        Err(error) => eprintln!("the counts are not written down ({}): {error}", path.display()),
    }
}
