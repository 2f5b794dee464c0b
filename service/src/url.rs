//! URLs fit to be shown.

/// A URL fit for logs and screens: a password in it, and a query, which may hold a key, are shown as `***`.
pub fn without_password(url: &str) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, _)) => (address, "?***"),
        None => (url, ""),
    };
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let colon = if scheme.is_empty() { "" } else { "://" };
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split_once(':').map(|(user, _)| user);
            // Without a password the name itself may be the secret, as with tokens.
            let user = user.map_or("***".to_owned(), |user| format!("{user}:***"));
            format!("{scheme}{colon}{user}@{host}{query}")
        }
        None => format!("{address}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_is_not_shown() {
        for (url, shown) in [
            ("https://hub:7390", "https://hub:7390"),
            ("https://bob:s3c@hub:7390/x", "https://bob:***@hub:7390/x"),
            ("https://bob:s3c@ret@hub", "https://bob:***@hub"),
            ("https://t0ken@hub", "https://***@hub"),
            ("bob:s3c@hub:7390", "bob:***@hub:7390"),
            ("https://hub/?key=s3c", "https://hub/?***"),
            ("https://hub/?key=s3c@x", "https://hub/?***"),
            ("", ""),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
