//! What queries may not: write, read elsewhere, or take more than their share.

use std::time::Duration;

use pyralog_hub::auth::tokens::{Scope, create};

use super::World;
use crate::device::client;

/// Queries that would go on for hours, or for ever, and need little memory.
const ENDLESS: [&str; 2] = [
    "SELECT count(*) FROM climate a JOIN climate b ON a.v + b.v <> 0.25",
    "WITH RECURSIVE again AS (SELECT 1 AS i UNION ALL SELECT i FROM again) SELECT count(*) FROM again",
];

/// Records of the log that these queries ask.
const RECORDS: u32 = 20_000;

async fn filled(world: &World) {
    let mut device = world.device("a", "climate", 1).await;
    let pieces: Vec<_> = (0..RECORDS / 10_000).map(|_| device.segment(10_000)).collect();
    device.send(&world.hub.url(), &pieces).await;
}

#[tokio::test]
async fn nothing_but_queries_is_taken() {
    let world = World::new().await;
    filled(&world).await;
    let file = world.folder.path().join("out.csv");
    for sql in [
        "DROP TABLE climate".to_owned(),
        "DELETE FROM climate".into(),
        "INSERT INTO climate SELECT * FROM climate".into(),
        "UPDATE climate SET v = 1".into(),
        "CREATE TABLE x AS SELECT 1".into(),
        "CREATE VIEW x AS SELECT 1".into(),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".into(),
        "CREATE DATABASE x".into(),
        format!("COPY climate TO '{}'", file.display()),
        "SET datafusion.execution.batch_size = 1".into(),
        "BEGIN".into(),
        "PREPARE x AS SELECT 1".into(),
        "SELECT * FROM '/etc/passwd'".into(),
        "SELECT * FROM 'file:///etc/passwd'".into(),
        "SELECT * FROM read_csv('/etc/passwd')".into(),
        "EXPLAIN ANALYZE DROP TABLE climate".into(),
    ] {
        let (status, error) = world.refused(&sql).await;
        assert_eq!(status, 400, "{sql}: {error}");
    }
    assert!(!file.exists());
    assert_eq!(world.rows("SELECT count(*) AS n FROM climate").await, [serde_json::json!({"n": RECORDS})]);
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_or_time_is_told_so_and_the_next_one_is_answered() {
    let world = World::with(|config| config.sql.max_memory = 16 << 20).await;
    filled(&world).await;
    let sorted = "SELECT a.v, b.v FROM climate a, climate b WHERE b.v < 20 ORDER BY a.v * b.v DESC";
    let (status, error) = world.refused(sorted).await;
    assert!(status == 422 && error.contains("16 MiB") && error.contains("sql.max_memory"), "{status} {error}");
    assert_eq!(world.rows("SELECT count(*) AS n FROM climate").await, [serde_json::json!({"n": RECORDS})]);
    let world = World::with(|config| config.sql.timeout = Duration::from_secs(3)).await;
    filled(&world).await;
    for endless in ENDLESS {
        let (status, error) = world.refused(endless).await;
        assert!(status == 504 && error.contains("3 s") && error.contains("sql.timeout"), "{status} {error}");
    }
    assert!(answers_again(&world).await, "queries that were told that it took too long are still under way");
}

/// Whether a query finds room within a minute.
async fn answers_again(world: &World) -> bool {
    for _ in 0..3_000 {
        if world.ask("", "SELECT 1").await.status == 200 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn one_query_too_many_is_told_to_come_back_and_one_whose_asker_went_makes_room() {
    let world = World::with(|config| config.sql.max_queries = 1).await;
    filled(&world).await;
    let url = format!("{}/v1/sql", world.hub.url());
    let endless = tokio::spawn(client().post(url).body(ENDLESS[0]).send());
    let mut busy = None;
    for _ in 0..200 {
        let answer = world.ask("", "SELECT 1").await;
        if answer.status == 503 {
            busy = Some((answer.retry_after, answer.body.unwrap()));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (retry_after, body) = busy.expect("the first query never began");
    assert!(retry_after == "1" && body.contains("1 queries are under way"), "{retry_after} {body}");
    endless.abort();
    assert!(answers_again(&world).await, "a query whose asker went is still under way");
}

#[tokio::test]
async fn a_query_that_nests_deeply_or_is_long_does_not_end_the_hub() {
    let world = World::new().await;
    filled(&world).await;
    let long = format!("SELECT {} AS n", vec!["1"; 30_000].join("+"));
    let ands = format!("SELECT count(*) FROM climate WHERE {}", vec!["v <> 1"; 5_000].join(" AND "));
    let parentheses = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let nots = format!("SELECT {} true", "NOT ".repeat(10_000));
    let unions = vec!["SELECT 1"; 3_000].join(" UNION ALL ");
    let few = vec!["1"; 1_900].join("+");
    let list = format!("SELECT count(*) FROM climate WHERE v IN ({})", vec!["1.5"; 10_000].join(","));
    for sql in [long, ands, parentheses, nots, unions, format!("SELECT {few}"), list] {
        let answer = world.ask("", &sql).await;
        let body = answer.body.unwrap();
        assert!(matches!(answer.status, 200 | 400), "{} {}", answer.status, &body[..body.len().min(300)]);
    }
    let (status, error) = world.refused(&format!("SELECT '{}'", "x".repeat(70_000))).await;
    assert!(status == 413 && error.contains("65536"), "{status} {error}");
    assert_eq!(world.rows("SELECT count(*) AS n FROM climate").await, [serde_json::json!({"n": RECORDS})]);
}

#[tokio::test]
async fn a_token_for_one_agent_does_not_open_sql_and_one_for_reading_all_does() {
    let tokens = tempfile::NamedTempFile::new().unwrap();
    let one = create(tokens.path(), "a", Scope::Read).unwrap();
    let all = create(tokens.path(), "*", Scope::Read).unwrap();
    let sync = create(tokens.path(), "*", Scope::Sync).unwrap();
    let world = World::with(|config| config.tokens = Some(tokens.path().to_owned())).await;
    let url = format!("{}/v1/sql", world.hub.url());
    let ask = async |token: Option<&str>| {
        let mut request = client().post(&url).body("SELECT 1 AS n");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(None).await, 401);
    assert_eq!(ask(Some(&all)).await, 200);
    for refused in [&one, &sync] {
        assert!(matches!(ask(Some(refused)).await, 401 | 403));
    }
}
