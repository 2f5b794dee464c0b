//! What went wrong with an object, in words for people: object stores wrap the reason several times, or answer in XML.

use object_store::Error as ObjectError;

/// Most of an answer that is quoted.
const MAX_QUOTED: usize = 300;

/// What `error` says, with its innermost reason.
pub(super) fn words(error: &ObjectError) -> String {
    let mut current: &dyn std::error::Error = error;
    while let Some(source) = current.source() {
        current = source;
    }
    let (whole, innermost) = (error.to_string(), current.to_string());
    if let Some(answer) = answer(&whole) {
        return answer;
    }
    // Of a transport the innermost reason says all; around it is which request it was, and how often it was tried.
    if whole.contains(&innermost) && !whole.contains("Error performing") { whole } else { innermost }
}

/// The code of an answer of S3, such as `NoSuchBucket`.
pub(super) fn code(text: &str) -> Option<&str> {
    element(text, "Code")
}

/// `403 Forbidden: AccessDenied: Access Denied`
fn answer(text: &str) -> Option<String> {
    let code = code(text)?;
    let (_, after) = text.split_once("status code: ").unwrap_or_default();
    let status = after.split(':').next().unwrap_or_default();
    let message = element(text, "Message").unwrap_or_default();
    let words = [status, code, message].into_iter().filter(|word| !word.is_empty());
    Some(words.collect::<Vec<_>>().join(": ").chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect())
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    Some(after.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_becomes_a_line() {
        let source = "Error performing PUT http://127.0.0.1:1/b/x in 3ms - Server returned non-2xx status code: 403 Forbidden: \
                      <?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access\nDenied</Message></Error>";
        let error = ObjectError::Generic { store: "S3", source: source.into() };
        assert_eq!(words(&error), "403 Forbidden: AccessDenied: AccessDenied");
        assert_eq!(code(source), Some("AccessDenied"));
    }

    #[test]
    fn the_reason_is_not_lost_in_its_wrapping() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = ObjectError::Generic { store: "S3", source: refused.into() };
        assert!(words(&error).contains("connection refused"), "{}", words(&error));
    }
}
