//! The columns of a log while it grows, and the schema that its segments share.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use pyralog_segment::{Column, ColumnType, MAX_COLUMN_NAME, RESERVED_NAMES, Schema};

use super::budget::{Budget, Reservation};
use super::column::ColumnBuilder;

/// The columns of a log, and where a value of some name and type goes.
///
/// A field's name and type lead to its column by way of an alias: the column's own name, or the plain name that another type
/// or a reserved name has taken. Records of one log mostly have the same cells in the same order, so the alias is guessed
/// from the cell's position before it is looked up.
#[derive(Debug, Default)]
pub(super) struct LogSchema {
    columns: Vec<Column>,
    aliases: Vec<Alias>,
    table: HashTable<u32>,
    hasher: RandomState,
    /// The alias of the cell at each position of the last record.
    shape: Vec<u32>,
    published: Option<Arc<SegmentSchema>>,
}

#[derive(Debug)]
struct Alias {
    name: Box<str>,
    ty: ColumnType,
    column: u32,
}

/// The schema of one or more segments, with its budget.
#[derive(Debug)]
pub(super) struct SegmentSchema {
    pub(super) schema: Arc<Schema>,
    pub(super) fingerprint: [u8; 8],
    _held: Reservation,
}

/// Why a value has no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoColumn {
    /// The name is empty or longer than a column's name may be.
    Name,
    /// A new column is needed, under this many bytes of name.
    New { name_bytes: usize },
}

impl LogSchema {
    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column for a value that comes as cell `position` of its record.
    #[inline]
    pub(super) fn resolve(&mut self, position: usize, name: &str, ty: ColumnType) -> Result<u32, NoColumn> {
        if let Some(guess) = self.shape.get(position)
            && let Some(alias) = self.aliases.get(*guess as usize)
            && alias.ty == ty
            && &*alias.name == name
        {
            return Ok(alias.column);
        }
        self.look_up(position, name, ty)
    }

    /// Adds the column that [`Self::resolve`] said is needed, and gives its index.
    pub(super) fn add(&mut self, name: &str, ty: ColumnType) -> u32 {
        let column = self.columns.len() as u32;
        let own = self.vacant_name(name, ty);
        self.alias(&own, ty, column);
        if own != name {
            self.alias(name, ty, column);
        }
        self.columns.push(Column { name: own, ty });
        self.published = None;
        column
    }

    /// The schema for a segment that is sealed or read now. Charged beyond the cap if need be: a seal cannot fail.
    pub(super) fn publish(&mut self, budget: &Arc<Budget>) -> Arc<SegmentSchema> {
        if let Some(published) = &self.published {
            return Arc::clone(published);
        }
        let names: usize = self.columns.iter().map(|c| c.name.len()).sum();
        let held = budget.force((256 + names * 2 + self.columns.len() * FIELD_BYTES) as u64);
        // Names are unique, not reserved and short by construction, and columns capped; an empty schema would only be
        // shown if that were broken.
        let schema = Schema::new(self.columns.clone()).unwrap_or_else(|error| {
            debug_assert!(false, "{error}");
            Schema::empty()
        });
        let fingerprint = schema.fingerprint();
        let published = Arc::new(SegmentSchema { schema: Arc::new(schema), fingerprint, _held: held });
        self.published = Some(Arc::clone(&published));
        published
    }

    fn look_up(&mut self, position: usize, name: &str, ty: ColumnType) -> Result<u32, NoColumn> {
        if let Some(alias) = self.find(name, ty) {
            if position < self.shape.len() {
                self.shape[position] = alias;
            } else if position == self.shape.len() && position < self.columns.len() {
                self.shape.push(alias);
            }
            return Ok(self.aliases[alias as usize].column);
        }
        if name.is_empty() || name.len() > MAX_COLUMN_NAME {
            return Err(NoColumn::Name);
        }
        let own = self.vacant_name(name, ty);
        if let Some(alias) = self.find(&own, ty) {
            let column = self.aliases[alias as usize].column;
            // A field's own name finds its column next time without the detour; capped, as names come from outside.
            if self.aliases.len() < self.columns.len() * 2 {
                self.alias(name, ty, column);
            }
            return Ok(column);
        }
        if own.len() > MAX_COLUMN_NAME {
            return Err(NoColumn::Name);
        }
        Err(NoColumn::New { name_bytes: own.len() })
    }

    /// The name of the column for `name` and `ty`, existing or new: the name itself, or with the type's suffix appended as
    /// long as it is reserved or of another type.
    fn vacant_name(&self, name: &str, ty: ColumnType) -> String {
        let mut own = name.to_owned();
        while own.len() <= MAX_COLUMN_NAME && (RESERVED_NAMES.contains(&own.as_str()) || self.taken(&own, ty)) {
            own.push_str("__");
            own.push_str(ty.suffix());
        }
        own
    }

    /// Whether a column has this name and another type.
    fn taken(&self, name: &str, ty: ColumnType) -> bool {
        ColumnType::ALL.into_iter().filter(|other| *other != ty).any(|other| {
            let column = self.find(name, other).map(|alias| self.aliases[alias as usize].column);
            column.is_some_and(|column| self.columns[column as usize].name == name)
        })
    }

    fn find(&self, name: &str, ty: ColumnType) -> Option<u32> {
        let is_it = |at: &u32| {
            let alias = &self.aliases[*at as usize];
            alias.ty == ty && &*alias.name == name
        };
        self.table.find(self.hasher.hash_one((name, ty)), is_it).copied()
    }

    fn alias(&mut self, name: &str, ty: ColumnType, column: u32) {
        let Self { aliases, table, hasher, .. } = self;
        let at = aliases.len() as u32;
        aliases.push(Alias { name: name.into(), ty, column });
        let hash_of = |at: &u32| {
            let alias = &aliases[*at as usize];
            hasher.hash_one((&*alias.name, alias.ty))
        };
        table.insert_unique(hash_of(&at), at, hash_of);
    }
}

/// What an Arrow field and our column cost in a published schema.
const FIELD_BYTES: usize = 240;

/// Bytes to charge a log for a column of `name_bytes`: its description, two aliases, the builder's own size,
/// each in a list that may be half empty.
pub(super) fn column_bytes(name_bytes: usize) -> usize {
    let alias = size_of::<Alias>() + 2 * size_of::<u32>();
    2 * (size_of::<Column>() + alias + size_of::<ColumnBuilder>()) + 16 + name_bytes * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(schema: &mut LogSchema, name: &str, ty: ColumnType) -> String {
        let column = match schema.resolve(0, name, ty) {
            Ok(column) => column,
            Err(NoColumn::New { .. }) => schema.add(name, ty),
            Err(NoColumn::Name) => return String::new(),
        };
        assert_eq!(schema.resolve(0, name, ty), Ok(column), "and it stays there");
        schema.columns()[column as usize].name.clone()
    }

    #[test]
    fn another_type_goes_to_a_sibling_as_the_segment_crate_would_place_it() {
        let mut schema = LogSchema::default();
        let cells = [
            ("temp", ColumnType::F64, "temp"),
            ("temp", ColumnType::Utf8, "temp__utf8"),
            ("temp__utf8", ColumnType::Utf8, "temp__utf8"),
            ("temp__i64", ColumnType::Bool, "temp__i64"),
            ("temp", ColumnType::I64, "temp__i64__i64"),
            ("temp__i64", ColumnType::I64, "temp__i64__i64"),
            ("offset", ColumnType::U64, "offset__u64"),
            ("time", ColumnType::Tag, "time__tag"),
            ("", ColumnType::F64, ""),
        ];
        let budget = Budget::new(1 << 20);
        for (name, ty, expected) in cells {
            let known = schema.publish(&budget).schema.clone();
            if !name.is_empty() {
                match known.place(name, ty) {
                    pyralog_segment::Place::Column(i) => assert_eq!(known.columns()[i].name, expected),
                    pyralog_segment::Place::New(new) => assert_eq!(new, expected),
                }
            }
            assert_eq!(place(&mut schema, name, ty), expected);
        }
        assert_eq!(schema.columns().len(), 6);
        assert_eq!(schema.publish(&budget).fingerprint, schema.publish(&budget).schema.fingerprint());
    }

    #[test]
    fn a_sibling_whose_name_would_be_too_long_is_refused() {
        let mut schema = LogSchema::default();
        let long = "x".repeat(MAX_COLUMN_NAME);
        assert_eq!(place(&mut schema, &long, ColumnType::F64), long);
        assert_eq!(schema.resolve(0, &long, ColumnType::I64), Err(NoColumn::Name));
        assert_eq!(schema.resolve(0, &(long + "x"), ColumnType::F64), Err(NoColumn::Name));
    }
}
