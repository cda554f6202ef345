//! The pieces: files of a source tree, and in which region each of them lies.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fedist::registry::RegionId;
use serde::{Deserialize, Serialize};

/// A file: its number, its path below the tree, its length, and the region where it lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) number: u64,
    pub(crate) path: String,
    pub(crate) len: u64,
    pub(crate) home: RegionId,
}

/// The tree and what was picked of it.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) pieces: Vec<Piece>,
}

impl Tree {
    /// Picks `count` files: of the tree that is named, else of the sources that cargo keeps.
    pub(crate) fn find(named: Option<&str>, count: usize, regions: usize) -> anyhow::Result<Self> {
        let root = match named {
            Some(path) => PathBuf::from(path),
            None => cargo_sources().unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
        };
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
            // What cannot be read is nobody's piece.
            let Ok(entry) = entry else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(path) = entry.path().strip_prefix(&root) else { continue };
            let (Some(path), true) = (path.to_str(), metadata.is_file()) else { continue };
            if (1_000..2_000_000).contains(&metadata.len()) {
                files.push((path.to_owned(), metadata.len()));
            }
        }
        anyhow::ensure!(
            files.len() >= count,
            "tree ({}) has {} files of 1 KB to 2 MB; {count} are wanted; name another with --tree",
            root.display(),
            files.len()
        );
        // Evenly over the whole tree, so that the sizes are those of the tree.
        let pieces = (0..count)
            .map(|number| {
                let (path, len) = &files[number * files.len() / count];
                let home = RegionId::new(u16::try_from(number * 7 % regions + 1)?)?;
                Ok(Piece { number: number as u64, path: path.clone(), len: *len, home })
            })
            .collect::<anyhow::Result<Vec<_>>>()
            .context("too many regions")?;
        Ok(Self { root, pieces })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }
}

fn cargo_sources() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        Some(home.join(".cargo"))
    })?;
    let sources = home.join("registry").join("src");
    Path::new(&sources).is_dir().then_some(sources)
}
