//! Records as an Arrow IPC stream.
//!
//! Each segment brings its own tag dictionaries, so a stream replaces dictionaries between batches, as the IPC format allows.

use arrow_array::RecordBatch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message};
use arrow_schema::{ArrowError, SchemaRef};

/// Written at the end of a stream: a continuation mark and a length of zero.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The state of one stream: which dictionaries the reader has.
#[derive(Debug)]
pub(super) struct ArrowStream {
    options: IpcWriteOptions,
    tracker: DictionaryTracker,
    context: IpcWriteContext,
}

impl Default for ArrowStream {
    fn default() -> Self {
        Self {
            options: IpcWriteOptions::default(),
            tracker: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
        }
    }
}

impl ArrowStream {
    pub(super) fn header(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let generator = IpcDataGenerator {};
        let message = generator.schema_to_bytes_with_dictionary_tracker(schema, &mut self.tracker, &self.options);
        write_message(out, message, &self.options)?;
        Ok(())
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let generator = IpcDataGenerator {};
        let (dictionaries, records) = generator.encode(batch, &mut self.tracker, &self.options, &mut self.context)?;
        for message in dictionaries.into_iter().chain([records]) {
            write_message(&mut *out, message, &self.options)?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&END_OF_STREAM);
    }
}
