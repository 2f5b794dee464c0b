//! Files by the name under which a service manager hands them over.

use std::path::PathBuf;

/// Stands before the name of a credential of systemd, in the place of a path.
const PREFIX: &str = "credential:";

/// The file that `text` means: a path, or `credential:NAME` for the one that the service manager handed over by that name.
///
/// # Errors
/// When there is no such thing; a sentence with the remedy.
pub fn credential_or_path(text: &str) -> Result<PathBuf, String> {
    file(text, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))
}

fn file(text: &str, folder: Option<PathBuf>) -> Result<PathBuf, String> {
    let Some(name) = text.strip_prefix(PREFIX) else { return Ok(text.into()) };
    // A name, and no way out of the folder.
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(format!("\"{text}\" names no credential; write \"{PREFIX}NAME\""));
    }
    let Some(folder) = folder else {
        let remedy = format!("give a path, or LoadCredential={name}:FILE in the unit");
        return Err(format!("\"{text}\": no service manager handed credentials over; {remedy}"));
    };
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_of_the_folder_that_was_handed_over() {
        let folder = || Some(PathBuf::from("/run/credentials/x"));
        assert_eq!(file("credential:hub_key.pem", folder()), Ok("/run/credentials/x/hub_key.pem".into()));
        assert_eq!(file("/etc/key.pem", None), Ok("/etc/key.pem".into()));
        for text in ["credential:", "credential:..", "credential:../x", "credential:a/b"] {
            assert!(file(text, folder()).unwrap_err().contains("names no credential"), "{text}");
        }
        let error = file("credential:hub_token", None).unwrap_err();
        assert!(error.contains("LoadCredential=hub_token:FILE"), "{error}");
    }
}
