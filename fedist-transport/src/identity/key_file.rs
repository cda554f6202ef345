//! Files of an identity: private ones refuse loose permissions, all are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::IdentityError;

/// Whether a file holds a secret.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Secrecy {
    Public,
    Secret,
}

/// Creates `dir` for its owner only if it is not there, and refuses one that others may write to.
pub fn prepare_directory(dir: &Path) -> Result<(), IdentityError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(io_error("create directory", dir))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(dir).map_err(io_error("read directory", dir))?;
        let mode = metadata.permissions().mode() & 0o7777;
        // In a sticky directory others may add files and cannot replace ours.
        if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            return Err(IdentityError::DirectoryOpen { path: dir.to_owned(), mode });
        }
    }
    Ok(())
}

/// The text of a file, or `None` if there is no such file. A secret file that others may read is
/// refused before it is read.
pub(super) fn read(path: &Path, secrecy: Secrecy) -> Result<Option<String>, IdentityError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open file", path)(error)),
    };
    if secrecy == Secrecy::Secret {
        refuse_loose_permissions(&file, path)?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(io_error("read file", path))?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(damaged(path, "longer than 64 KiB"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(damaged(path, "not PEM text")),
    }
}

/// Replaces a file in one step; it is on disk when this returns.
pub(super) fn replace(path: &Path, text: &str, secrecy: Secrecy) -> Result<(), IdentityError> {
    let temporary = write_beside(path, text, secrecy)?;
    let result = fs::rename(&temporary, path).map_err(io_error("replace file", path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    sync_directory(path)
}

/// Creates a file in one step unless it exists already; `false` if it does, and it is left as it is.
/// Of several processes that try at once exactly one creates it.
pub(super) fn create(path: &Path, text: &str, secrecy: Secrecy) -> Result<bool, IdentityError> {
    let temporary = write_beside(path, text, secrecy)?;
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error("create file", path)(error)),
    }
}

pub(super) fn damaged(path: &Path, detail: impl ToString) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), detail: detail.to_string() }
}

fn refuse_loose_permissions(file: &File, path: &Path) -> Result<(), IdentityError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = file.metadata().map_err(io_error("read file", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::KeyOpen { path: path.to_owned(), mode });
        }
    }
    let _ = (file, path);
    Ok(())
}

fn write_beside(path: &Path, text: &str, secrecy: Secrecy) -> Result<PathBuf, IdentityError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match secrecy {
            Secrecy::Secret => 0o600,
            Secrecy::Public => 0o644,
        },
    );
    let (temporary, mut file) = create_beside(path, &options)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(io_error("write file", &temporary)(error));
    }
    Ok(temporary)
}

/// Another thread, or a process that died before us with the same number, may own a name already.
fn create_beside(path: &Path, options: &OpenOptions) -> Result<(PathBuf, File), IdentityError> {
    let mut attempt = 0_u32;
    loop {
        let suffix = format!("{}-{attempt}.tmp", std::process::id());
        let temporary = path.with_extension(suffix);
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1_000 => {
                attempt += 1;
            }
            Err(error) => return Err(io_error("create file", &temporary)(error)),
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), IdentityError> {
    #[cfg(unix)]
    if let Some(dir) = path.parent() {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("write directory", dir))?;
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    move |source| IdentityError::Io { action, path: path.to_owned(), source }
}

/// Keys and certificates of ours are below 1 KiB.
const MAX_FILE_LEN: u64 = 64 * 1024;
