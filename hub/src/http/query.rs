//! Query strings: every parameter is known, or the answer says which would be.

use http::StatusCode;

use super::reply::Failure;

/// Parameters that one request may carry.
const MAX_PARAMETERS: usize = 16;

/// The parameters of a request, each taken once.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Splits a query string; parameters outside `known` are refused with the nearest that is.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Failure> {
        let mut found = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                let nearest = known.iter().max_by(|a, b| score(a, &name).total_cmp(&score(b, &name)));
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let near =
                    nearest.filter(|near| score(near, &name) > 0.4).map(|near| format!("did you mean `{near}`? "));
                let error =
                    format!("there is no parameter {name:?} here; {}there are: {known}", near.unwrap_or_default());
                return Err(bad(error));
            }
            if found.len() == MAX_PARAMETERS || found.iter().any(|(other, _)| *other == name) {
                return Err(bad(format!("the parameter {name:?} is given twice; give it once")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// The value of a parameter, parsed; `takes` says what it takes.
    pub(super) fn get<T>(
        &self,
        name: &str,
        takes: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some((_, text)) = self.0.iter().find(|(known, _)| known == name) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(bad(format!("`{name}={text}` is not {takes}"))),
        }
    }
}

/// A 400 in these words.
pub(super) fn bad(error: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, error)
}

/// Unix nanoseconds, or RFC 3339 in UTC.
pub(super) fn time(text: &str) -> Option<i64> {
    if let Ok(nanos) = text.parse() {
        return Some(nanos);
    }
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    let nanos = time.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
    i64::try_from(nanos).ok()
}

fn score(known: &str, name: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(known, name)
}

fn decode(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.map(|decoded| decoded.into_owned()).map_err(|_| bad(format!("{text:?} is not UTF-8; percent-encode it")))
}
