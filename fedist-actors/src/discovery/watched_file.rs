//! Addresses in a file that is looked at again and again.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use fedist_registry::{BadAddress, Excerpt, check_address};
use tokio::task::JoinHandle;

use super::{Discovery, DiscoveryError};

/// A file with one address on each line. What stands behind a `#` is a comment; empty lines say nothing.
///
/// It is read every second ([`every`](Self::every)), and a new content is taken when two readings a tenth of a second apart agree, so that
/// one that is just being written is not taken for the whole. Both ways to write are fine: over the old one, or a rename. A
/// line that is no address is refused with its number, and with it the file: what it said before holds. A file that is not
/// there has no address, of which the log warns.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    name: String,
    every: Duration,
    /// What it said last; `None` inside for no file.
    content: Option<Option<Vec<u8>>>,
    /// A reading that takes its time, on a file system that hangs.
    reading: Option<JoinHandle<io::Result<Option<Vec<u8>>>>>,
}

impl WatchedFile {
    /// The file at this path; it need not be there yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_path_buf();
        Self {
            name: format!("file {}", path.display()),
            path,
            every: Duration::from_secs(1),
            content: None,
            reading: None,
        }
    }

    /// Looks at it so often; every second by default.
    pub fn every(mut self, period: Duration) -> Self {
        self.every = period;
        self
    }

    async fn read(&mut self) -> Result<Option<Vec<u8>>, DiscoveryError> {
        let path = &self.path;
        let reading = self.reading.get_or_insert_with(|| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_bounded(&path))
        });
        let read = reading.await;
        self.reading = None;
        let read = read.unwrap_or_else(|_| Err(io::Error::other("the runtime has ended")));
        read.map_err(|error| self.unreadable(error.to_string()))
    }

    /// The content when it has come to rest.
    async fn settled(&mut self) -> Result<Option<Vec<u8>>, DiscoveryError> {
        let mut content = self.read().await?;
        if self.content.as_ref() == Some(&content) {
            return Ok(content);
        }
        for _ in 0..LOOKS {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let again = self.read().await?;
            if again == content {
                return Ok(content);
            }
            content = again;
        }
        Err(self.unreadable("it keeps changing".to_owned()))
    }

    fn unreadable(&self, detail: String) -> DiscoveryError {
        DiscoveryError::Unreadable { what: format!("file {}", self.path.display()), detail }
    }
}

impl Discovery for WatchedFile {
    fn name(&self) -> &str {
        &self.name
    }

    async fn discover(&mut self) -> Result<Vec<String>, DiscoveryError> {
        let content = self.settled().await?;
        if content.is_none() && self.content != Some(None) {
            tracing::warn!(path = %self.path.display(), "there is no such file of addresses; it is watched for");
        }
        let found = listed(&self.path, content.as_deref().unwrap_or_default());
        self.content = Some(content);
        found
    }

    fn every(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn gone_after(&self) -> u32 {
        1
    }
}

/// The file's bytes, or none where there is no file.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_LEN {
        true => Err(io::Error::other("it is longer than 1 MiB")),
        false => Ok(Some(bytes)),
    }
}

fn listed(path: &Path, bytes: &[u8]) -> Result<Vec<String>, DiscoveryError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let bad =
            |error| DiscoveryError::BadLine { path: path.to_owned(), line: number + 1, error };
        let Ok(line) = std::str::from_utf8(line) else {
            let text = Excerpt::new(&String::from_utf8_lossy(line));
            return Err(bad(BadAddress { text }));
        };
        let address = line.split('#').next().unwrap_or_default().trim();
        if !address.is_empty() {
            check_address(address).map_err(bad)?;
            found.push(address.to_owned());
        }
    }
    Ok(found)
}

const MAX_LEN: u64 = 1 << 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A file that is another one each time so often keeps changing.
const LOOKS: usize = 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn lines(text: &[u8]) -> Result<Vec<String>, String> {
        listed(Path::new("peers"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn one_address_a_line_and_comments() {
        let text = b"\xef\xbb\xbf# the hubs\n\n  a.example:1  # Frankfurt\r\n[::1]:2\n#b:3\n\tc:4";
        assert_eq!(lines(text).unwrap(), ["a.example:1", "[::1]:2", "c:4"]);
        assert!(lines(b"").unwrap().is_empty() && lines(b"\n\n#\n").unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_refused_with_its_number() {
        let refused = |text: &[u8]| lines(text).unwrap_err();
        assert!(
            refused(b"a:1\n\nnowhere\n")
                .starts_with("line 3 of peers: malformed address (nowhere)")
        );
        assert!(refused(b"a:1 b:2").starts_with("line 1 of peers"));
        assert!(refused(b"a:1\n\xff\xfe:1\n").starts_with("line 2 of peers"));
    }

    #[tokio::test]
    async fn what_is_in_the_file_now_is_told_however_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let mut file = WatchedFile::new(&path);
        assert!(file.discover().await.unwrap().is_empty(), "there is none");
        fs::write(&path, "a:1\n").unwrap();
        assert_eq!(file.discover().await.unwrap(), ["a:1"]);
        // Of the same length, within the same tick of the file system's clock.
        fs::write(&path, "b:1\n").unwrap();
        assert_eq!(file.discover().await.unwrap(), ["b:1"]);
        let new = dir.path().join("new");
        fs::write(&new, "c:1\nd:1\n").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(file.discover().await.unwrap(), ["c:1", "d:1"]);
        fs::write(&path, "c:1\nnonsense\n").unwrap();
        assert!(file.discover().await.is_err());
        assert!(file.discover().await.is_err(), "as long as it is so");
        fs::remove_file(&path).unwrap();
        assert!(file.discover().await.unwrap().is_empty());
        fs::create_dir(&path).unwrap();
        let error = file.discover().await.unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[tokio::test]
    async fn a_file_of_more_than_a_mebibyte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        fs::write(&path, "a:1\n".repeat(300_000)).unwrap();
        let error = WatchedFile::new(&path).discover().await.unwrap_err().to_string();
        assert!(error.contains("longer than 1 MiB"), "{error}");
    }
}
