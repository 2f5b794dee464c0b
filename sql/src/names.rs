//! A catalog's tables under their names, loaded when a query first speaks of them and the same ever after.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use tokio::sync::Mutex;

use crate::border;
use crate::catalog::Catalog;
use crate::table::{Counts, Provider};

/// What one query sees.
pub(crate) struct Names {
    catalog: Arc<dyn Catalog>,
    /// For those who ask for all tables; empty when nobody does.
    listed: Vec<String>,
    loaded: Mutex<HashMap<String, Arc<dyn TableProvider>>>,
    counts: Arc<Counts>,
}

impl Names {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, listed: Vec<String>, counts: Arc<Counts>) -> Self {
        Self { catalog, listed, loaded: Mutex::default(), counts }
    }
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        self.listed.clone()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let mut loaded = self.loaded.lock().await;
        if let Some(table) = loaded.get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        let Some(table) = self.catalog.table(name).await.map_err(border::external)? else { return Ok(None) };
        let table: Arc<dyn TableProvider> = Arc::new(Provider::new(table, Arc::clone(&self.counts))?);
        loaded.insert(name.to_owned(), Arc::clone(&table));
        Ok(Some(table))
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.listed.iter().any(|known| known == name)
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Names").field("listed", &self.listed.len()).finish_non_exhaustive()
    }
}
