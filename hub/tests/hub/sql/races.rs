//! Archivers and retention at work between a query's look at the lake and its reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pyralog_hub::archive::open_lake_to_read;
use pyralog_hub::sql::{Notes, Tables};
use pyralog_hub::store::{StoreUrl, open_directory};
use pyralog_sql::{Catalog, Engine, Format, Limits, SourceError, SqlError, Table};

use super::World;

/// The tables of a world in which much happens between planning and reading, for the first so many queries.
struct Moving {
    tables: Tables,
    world: Arc<World>,
    left: AtomicUsize,
    looks: AtomicUsize,
}

#[async_trait]
impl Catalog for Moving {
    async fn names(&self) -> Result<Vec<String>, SourceError> {
        self.tables.names().await
    }

    async fn table(&self, name: &str) -> Result<Option<Table>, SourceError> {
        let table = self.tables.table(name).await;
        self.looks.fetch_add(1, Ordering::Relaxed);
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            // Archives the rest, compacts the files that the table names, and deletes what it would read of the store.
            self.world.archive().await;
            self.world.trim().await;
        }
        table
    }
}

async fn counted(moving: &Arc<Moving>) -> Result<String, SqlError> {
    let sql = "SELECT count(*) AS n, count(DISTINCT \"offset\") AS different FROM climate";
    answered(Arc::clone(moving) as Arc<dyn Catalog>, sql).await
}

async fn answered(catalog: Arc<dyn Catalog>, sql: &str) -> Result<String, SqlError> {
    let limits = Limits { memory: 64 << 20, queries: 1, timeout: Duration::from_secs(60), threads: 1 };
    let engine = Engine::new(limits).unwrap();
    let mut answer = engine.query(catalog, sql, Format::Csv).await?;
    let mut text = Vec::new();
    while let Some(piece) = answer.next().await {
        text.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8(text).unwrap())
}

async fn moving(times: usize) -> Arc<Moving> {
    let world = Arc::new(World::new().await);
    let mut device = world.device("a", "climate", 1).await;
    for round in 0..3 {
        let pieces = [device.segment(10), device.segment(10)];
        device.send(&world.hub.url(), &pieces).await;
        if round == 0 {
            world.archive().await;
        }
    }
    let store = Arc::new(open_directory(&world.store()).unwrap());
    let lake = open_lake_to_read(&StoreUrl::Directory(world.lake())).await.unwrap();
    let tables = Tables::new(store, Some(lake), Notes::new(false));
    Arc::new(Moving { tables, world, left: AtomicUsize::new(times), looks: AtomicUsize::new(0) })
}

#[tokio::test]
async fn segments_outside_a_query_s_time_are_not_decoded() {
    let world = World::new().await;
    let mut device = world.device("a", "climate", 1).await;
    let pieces: Vec<_> = (0..20).map(|_| device.segment(10)).collect();
    device.send(&world.hub.url(), &pieces).await;
    for (sql, rows, segments) in [
        ("SELECT * FROM climate", 200, 20),
        (
            "SELECT * FROM climate WHERE time >= '1970-01-01T00:00:00.000095Z' AND time < '1970-01-01T00:00:00.000105Z'",
            10,
            2,
        ),
        ("SELECT * FROM climate WHERE date = '1970-01-02'", 0, 0),
    ] {
        let (store, notes) = (Arc::new(open_directory(&world.store()).unwrap()), Notes::new(false));
        let text = answered(Arc::new(Tables::new(store, None, Arc::clone(&notes))), sql).await.unwrap();
        assert_eq!((text.lines().count(), notes.segments()), (1 + rows, segments), "{sql}");
    }
}

#[tokio::test]
async fn a_query_begins_again_when_what_it_named_was_compacted_or_archived_and_deleted() {
    let moving = moving(1).await;
    assert_eq!(counted(&moving).await.unwrap(), "n,different\n60,60\n");
    assert_eq!(moving.looks.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_retention_deleted_without_an_archive_is_no_reason_to_begin_again() {
    let moving = moving(0).await;
    moving.world.trim().await;
    // The last segment of the chain always stays, and what was archived is in the lake.
    assert_eq!(counted(&moving).await.unwrap(), "n,different\n30,30\n");
    assert_eq!(moving.looks.load(Ordering::Relaxed), 1);
}
