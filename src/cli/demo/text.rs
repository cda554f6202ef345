//! The text whose words are counted: a file, a folder, or the text files of this repository.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use super::super::exit::{Exit, Failure};

/// Files to read, one after the other.
#[derive(Debug)]
pub(crate) struct Text {
    /// In words, for the reader of the demo.
    pub(crate) what: String,
    files: Vec<PathBuf>,
    /// Bytes, as far as the files say; pipes do not.
    pub(crate) bytes: u64,
    /// Files that could not be read, and why.
    pub(crate) unreadable: Vec<String>,
    built_in: bool,
}

impl Text {
    /// The text at `path`, or the default.
    ///
    /// # Errors
    /// There is nothing at `path`, or it cannot be opened.
    pub(crate) fn find(path: Option<&Path>) -> anyhow::Result<Text> {
        let Some(path) = path else {
            return Ok(Self::of_repository().unwrap_or_else(Self::built_in));
        };
        let unusable = |error: std::io::Error| {
            let text = format!(
                "input ({}: {error}); words are counted in a file or folder that can be read; name another with --input",
                path.display()
            );
            Failure::new(Exit::Config, text)
        };
        let metadata = fs::metadata(path).map_err(unusable)?;
        if metadata.is_dir() {
            fs::read_dir(path).map_err(unusable)?;
            return Ok(Self::of_folder(path));
        }
        if metadata.is_file() {
            File::open(path).map_err(unusable)?;
        }
        Ok(Text {
            what: path.display().to_string(),
            files: vec![path.to_owned()],
            bytes: metadata.len(),
            unreadable: Vec::new(),
            built_in: false,
        })
    }

    /// The number of files.
    pub(crate) fn files(&self) -> usize {
        if self.built_in { BUILT_IN.len() } else { self.files.len() }
    }

    /// Reads everything once, in blocks; an empty block ends a file.
    ///
    /// A file that cannot be read (any more) is noted in [`unreadable`](Self::unreadable) and left out from there on.
    ///
    /// # Errors
    /// Those of `take`, at which reading stops.
    pub(crate) fn read(
        &mut self,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.built_in {
            for text in BUILT_IN {
                take(text.as_bytes())?;
                take(&[])?;
            }
            return Ok(());
        }
        let mut block = vec![0; BLOCK];
        for path in &self.files {
            let mut file = match File::open(path) {
                Ok(file) => file,
                Err(error) => {
                    self.unreadable.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            loop {
                match file.read(&mut block) {
                    Ok(0) => break,
                    Ok(len) => take(block.get(..len).unwrap_or_default())?,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.unreadable.push(format!("{}: {error}", path.display()));
                        break;
                    }
                }
            }
            take(&[])?;
        }
        Ok(())
    }

    fn of_folder(folder: &Path) -> Text {
        let mut text = Text {
            what: folder.display().to_string(),
            files: Vec::new(),
            bytes: 0,
            unreadable: Vec::new(),
            built_in: false,
        };
        for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() => {
                    text.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                    text.files.push(entry.into_path());
                }
                Ok(_) => {}
                // A link back to a folder above: its files are read already.
                Err(error) if error.loop_ancestor().is_some() => {}
                Err(error) => text.unreadable.push(error.to_string()),
            }
        }
        text
    }

    /// The text files of the repository that the current directory is in, if it is FeDist's.
    fn of_repository() -> Option<Text> {
        let here = std::env::current_dir().ok()?;
        let root = here.ancestors().find(|folder| {
            let manifest = fs::read_to_string(folder.join("Cargo.toml"));
            manifest.is_ok_and(|manifest| {
                manifest.lines().any(|line| line.trim() == "name = \"fedist\"")
            })
        })?;
        let walk = WalkDir::new(root).sort_by_file_name().into_iter();
        let kept = walk.filter_entry(|entry| {
            let name = entry.file_name().to_string_lossy();
            entry.depth() == 0 || !(name.starts_with('.') || name == "target")
        });
        let mut text = Text {
            what: "the text files of this repository".to_owned(),
            files: Vec::new(),
            bytes: 0,
            unreadable: Vec::new(),
            built_in: false,
        };
        for entry in kept.flatten() {
            let extension = entry.path().extension().and_then(|extension| extension.to_str());
            if entry.file_type().is_file() && extension.is_some_and(|e| TEXT_FILES.contains(&e)) {
                text.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                text.files.push(entry.into_path());
            }
        }
        (!text.files.is_empty()).then_some(text)
    }

    fn built_in() -> Text {
        Text {
            what: "FeDist's README and the source of this demo".to_owned(),
            files: Vec::new(),
            bytes: BUILT_IN.iter().map(|text| text.len() as u64).sum(),
            unreadable: Vec::new(),
            built_in: true,
        }
    }
}

const BLOCK: usize = 64 * 1024;

const TEXT_FILES: &[&str] = &["md", "rs", "toml", "txt", "csv"];

/// For a demo away from the repository.
const BUILT_IN: &[&str] = &[
    include_str!("../../../README.md"),
    include_str!("mod.rs"),
    include_str!("plan.rs"),
    include_str!("words.rs"),
    include_str!("fleet.rs"),
    include_str!("region.rs"),
    include_str!("text.rs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &mut Text) -> (Vec<u8>, usize) {
        let (mut all, mut ends) = (Vec::new(), 0);
        text.read(|block| {
            all.extend_from_slice(block);
            ends += usize::from(block.is_empty());
            Ok(())
        })
        .unwrap();
        (all, ends)
    }

    #[test]
    fn a_folder_is_read_with_all_files_below_it_and_a_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/two.bin"), b"two \xff").unwrap();
        fs::write(folder.path().join("a"), b"one ").unwrap();
        fs::write(folder.path().join("empty"), b"").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).unwrap();
        let mut text = Text::find(Some(folder.path())).unwrap();
        assert_eq!((text.files(), text.bytes), (3, 9));
        assert_eq!(read(&mut text), (b"one two \xff".to_vec(), 3));
        assert!(text.unreadable.is_empty());
        let mut text = Text::find(Some(&folder.path().join("a"))).unwrap();
        assert_eq!(read(&mut text), (b"one ".to_vec(), 1));
    }

    #[test]
    fn nothing_at_the_path_is_an_error_that_names_it() {
        let error = Text::find(Some(Path::new("/nonexistent/x"))).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/x") && error.contains("--input"), "{error}");
    }

    #[test]
    fn away_from_the_repository_there_is_a_text_too() {
        let mut text = Text::built_in();
        let (all, ends) = read(&mut text);
        assert_eq!((all.len() as u64, ends), (text.bytes, text.files()));
        assert!(!all.is_empty());
    }
}
