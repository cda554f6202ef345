//! A directory of the demo's own, gone when it ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    time::{SystemTime, UNIX_EPOCH},
};

/// A new directory under the system's temporary one, for its owner only; removed on drop.
pub(crate) struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes it under a name that nobody has.
    pub(crate) fn create() -> io::Result<Self> {
        let seed =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        for attempt in 0..100_u32 {
            let name = format!("{PREFIX}{}-{:08x}", process::id(), seed.wrapping_add(attempt));
            let path = std::env::temp_dir().join(name);
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // The processes that wrote there have ended; one that is just ending may still do so.
        for _ in 0..3 {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                _ => return,
            }
        }
    }
}

/// Whether a path has the name of such a directory: nothing else may be removed as one.
pub(crate) fn is_scratch(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PREFIX))
}

const PREFIX: &str = "fedist-demo-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_different_and_gone_when_dropped() {
        let (a, b) = (ScratchDir::create().unwrap(), ScratchDir::create().unwrap());
        assert_ne!(a.path(), b.path());
        assert!(is_scratch(a.path()) && !is_scratch(Path::new("/tmp")));
        let path = a.path().to_owned();
        fs::write(path.join("x"), b"x").unwrap();
        drop(a);
        assert!(!path.exists() && b.path().exists());
    }
}
