//! What is found out when a bucket is opened.

use std::net::TcpListener;

use pyralog_e2e_s3::{Misbehave, S3Server};
use pyralog_hub::store::{OpenError, Store, open_bucket};

use super::{Bucket, open};

/// What a person must change.
async fn unfit(url: &str) -> String {
    match open(url).await {
        Err(OpenError::Unfit(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bucket_can_be_opened_any_number_of_times() {
    let bucket = Bucket::new();
    for _ in 0..3 {
        let store = open(&bucket.server.store("site/7")).await.unwrap();
        assert!(store.check().await.is_ok());
        assert!(store.agents(None, 10).await.unwrap().is_empty());
        assert_eq!(store.address(), bucket.server.store("site/7"));
    }
}

#[tokio::test]
async fn a_server_that_overwrites_what_exists_is_refused() {
    let bucket = Bucket::new();
    bucket.server.misbehave(Misbehave::IgnoreConditions);
    let words = unfit(&bucket.server.store("")).await;
    assert!(words.contains("If-None-Match") && words.contains("overwrite") && words.contains("directory"), "{words}");
}

#[tokio::test]
async fn a_server_that_does_not_list_from_a_name_on_is_refused() {
    let bucket = Bucket::new();
    bucket.server.misbehave(Misbehave::ListFromTheStart);
    let words = unfit(&bucket.server.store("")).await;
    assert!(words.contains("order"), "{words}");
}

#[tokio::test]
async fn a_missing_bucket_and_wrong_credentials_are_told_with_the_remedy() {
    let bucket = Bucket::new();
    let url = format!("s3://nothing-here?endpoint=http://{}", bucket.server.address());
    let words = unfit(&url).await;
    assert!(words.contains("no bucket nothing-here") && words.contains("correct its name"), "{words}");
    for (key, secret) in [(pyralog_e2e_s3::KEY, "wrong"), ("nobody", pyralog_e2e_s3::SECRET)] {
        let environment = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let error = open_bucket(&bucket.server.store("").parse().unwrap(), environment).await.unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, OpenError::Unfit(_)) && words.contains("AWS_SECRET_ACCESS_KEY"), "{words}");
        assert!(!words.contains("wrong"), "{words}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_and_is_told_as_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = open(&format!("s3://fleet/x?endpoint=http://{address}")).await.unwrap_err();
    let words = error.to_string();
    assert!(matches!(error, OpenError::Store(_)), "{words}");
    assert!(words.contains("Connection refused") && words.contains(&address.to_string()), "{words}");
}

#[tokio::test]
async fn without_credentials_none_are_made_up() {
    let bucket = Bucket::new();
    // Where clouds hand out credentials to their machines, nobody is here.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let environment = [("AWS_METADATA_ENDPOINT".to_owned(), format!("http://{closed}"))];
    let error = open_bucket(&bucket.server.store("").parse().unwrap(), environment).await.unwrap_err();
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert_eq!(S3Server::start(bucket.folder.path()).unwrap().counts().sum(), 0);
}
