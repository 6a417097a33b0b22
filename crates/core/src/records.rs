//! Records: how a secured channel cuts payload into protected pieces, in place.

use std::{fmt, ops::Range};

use bytes::BytesMut;

use crate::SecurityError;

/// The shape of a record: `header || payload || trailer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLayout {
    /// Bytes in front of the payload.
    pub header: usize,
    /// Bytes behind the payload.
    pub trailer: usize,
    /// The most payload bytes in one record.
    pub max_payload: usize,
}

impl RecordLayout {
    /// No records: payload is the wire format.
    pub const PLAIN: Self = Self {
        header: 0,
        trailer: 0,
        max_payload: usize::MAX,
    };
}

/// Protects and opens the records of one connection, in place.
///
/// Both directions are in one object, since one task uses both.
pub trait Records: Send {
    /// The layout of outbound records.
    fn layout(&self) -> RecordLayout;

    /// Protects one record: header and trailer are to be filled, the payload between them encrypted.
    fn seal(&mut self, record: &mut [u8]) -> Result<(), SecurityError>;

    /// Takes one record from the front of `input` and returns its payload, or
    /// `None` when more bytes are needed. The payload shares the memory of `input`.
    ///
    /// A payload may be empty. After an error the connection is unusable.
    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, SecurityError>;

    /// Whether the end of the input without a muxer's goodbye is an attack that cuts the
    /// conversation short. True for ciphers, false where nothing is protected anyway.
    fn detects_truncation(&self) -> bool {
        true
    }
}

/// The absence of records.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainRecords;

impl Records for PlainRecords {
    fn layout(&self) -> RecordLayout {
        RecordLayout::PLAIN
    }

    fn seal(&mut self, _record: &mut [u8]) -> Result<(), SecurityError> {
        Ok(())
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, SecurityError> {
        Ok((!input.is_empty()).then(|| input.split()))
    }

    fn detects_truncation(&self) -> bool {
        false
    }
}

/// A buffer into which a muxer writes frames, already cut into records.
///
/// Room for headers and trailers is left between the payload, so that the
/// records can be sealed where they are and sent with one system call.
pub struct Transmit {
    layout: RecordLayout,
    bytes: Vec<u8>,
    /// Where finished records end, their trailers included.
    ends: Vec<usize>,
    /// Payload bytes in the record that is still open, if one is.
    open: Option<usize>,
    payload: usize,
}

impl Transmit {
    /// An empty buffer for records of the given layout.
    pub fn new(layout: RecordLayout) -> Self {
        Self {
            layout,
            bytes: Vec::new(),
            ends: Vec::new(),
            open: None,
            payload: 0,
        }
    }

    /// Appends payload; it may end up in several records.
    pub fn put(&mut self, mut payload: &[u8]) {
        self.payload += payload.len();
        while !payload.is_empty() {
            let room = self.room();
            let (now, later) = payload.split_at(payload.len().min(room));
            self.bytes.extend_from_slice(now);
            self.open = Some(self.open.unwrap_or(0) + now.len());
            payload = later;
        }
    }

    /// Payload bytes that wait.
    pub fn len(&self) -> usize {
        self.payload
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.payload == 0
    }

    /// Exchanges what waits for the memory of a `batch` that was sent; false when nothing waits.
    /// When nothing waits and the batch was [released](Batch::release), this gives its memory back too.
    ///
    /// # Panics
    ///
    /// If `batch` has unsent bytes.
    pub fn swap(&mut self, batch: &mut Batch) -> bool {
        assert!(
            batch.unsent().is_empty(),
            "a batch is swapped once it is sent"
        );
        if self.is_empty() {
            if batch.capacity() == 0 {
                self.bytes = Vec::new();
            }
            return false;
        }
        self.finish_record();
        batch.clear();
        std::mem::swap(&mut self.bytes, &mut batch.bytes);
        std::mem::swap(&mut self.ends, &mut batch.ends);
        self.payload = 0;
        true
    }

    /// Payload bytes that fit the open record, which is begun when there is none.
    fn room(&mut self) -> usize {
        if self.open == Some(self.layout.max_payload) {
            self.finish_record();
        }
        let used = *self.open.get_or_insert_with(|| {
            self.bytes.resize(self.bytes.len() + self.layout.header, 0);
            0
        });
        self.layout.max_payload - used
    }

    fn finish_record(&mut self) {
        if self.open.take().is_some() {
            self.bytes.resize(self.bytes.len() + self.layout.trailer, 0);
            self.ends.push(self.bytes.len());
        }
    }
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("payload", &self.payload)
            .field("records", &self.ends.len())
            .finish_non_exhaustive()
    }
}

/// Records on their way out: taken from a [`Transmit`], sealed once, then sent piece by piece.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    sent: usize,
}

impl Batch {
    /// Seals every record. Call it once for each [`Transmit::swap`], before sending.
    ///
    /// After an error the batch is empty, so that no payload can leave unsealed.
    pub fn seal(&mut self, records: &mut dyn Records) -> Result<(), SecurityError> {
        let outcome = self.seal_each(records);
        if outcome.is_err() {
            self.release();
        }
        outcome
    }

    /// The bytes that are still to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Marks the next `count` bytes as sent.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.unsent().len(), "more sent than there was");
        self.sent += count;
    }

    /// Gives the memory back; an idle connection holds none.
    pub fn release(&mut self) {
        *self = Self::default();
    }

    /// Bytes of memory that this batch holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn seal_each(&mut self, records: &mut dyn Records) -> Result<(), SecurityError> {
        let mut start = 0;
        for &end in &self.ends {
            let record: Range<usize> = start..end;
            records.seal(&mut self.bytes[record])?;
            start = end;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.sent = 0;
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("unsent", &self.unsent().len())
            .field("records", &self.ends.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills header and trailer with markers and flips the payload.
    struct Marking;

    impl Records for Marking {
        fn layout(&self) -> RecordLayout {
            RecordLayout {
                header: 2,
                trailer: 1,
                max_payload: 4,
            }
        }

        fn seal(&mut self, record: &mut [u8]) -> Result<(), SecurityError> {
            let last = record.len() - 1;
            record[..2].copy_from_slice(b"[[");
            record[last] = b']';
            Ok(())
        }

        fn open(&mut self, _input: &mut BytesMut) -> Result<Option<BytesMut>, SecurityError> {
            Ok(None)
        }
    }

    #[test]
    fn payload_is_cut_into_records_and_sealed_in_place() {
        let mut transmit = Transmit::new(Marking.layout());
        transmit.put(b"abc");
        transmit.put(b"defgh");
        transmit.put(b"i");
        assert_eq!(transmit.len(), 9);
        let mut batch = Batch::default();
        assert!(transmit.swap(&mut batch));
        batch.seal(&mut Marking).unwrap();
        assert_eq!(batch.unsent(), b"[[abcd][[efgh][[i]");
        assert!(transmit.is_empty());
        batch.advance(batch.unsent().len());
        assert!(!transmit.swap(&mut batch));
    }

    #[test]
    fn what_could_not_be_sealed_is_never_sent() {
        struct Exhausted;

        impl Records for Exhausted {
            fn layout(&self) -> RecordLayout {
                Marking.layout()
            }

            fn seal(&mut self, _record: &mut [u8]) -> Result<(), SecurityError> {
                Err(SecurityError::Exhausted)
            }

            fn open(&mut self, _input: &mut BytesMut) -> Result<Option<BytesMut>, SecurityError> {
                Ok(None)
            }
        }

        let mut transmit = Transmit::new(Exhausted.layout());
        transmit.put(b"secret");
        let mut batch = Batch::default();
        assert!(transmit.swap(&mut batch));
        assert!(batch.seal(&mut Exhausted).is_err());
        assert!(batch.unsent().is_empty());
    }

    #[test]
    fn plain_records_pass_bytes_through() {
        let mut transmit = Transmit::new(RecordLayout::PLAIN);
        transmit.put(b"one");
        transmit.put(b"two");
        let mut batch = Batch::default();
        transmit.swap(&mut batch);
        batch.seal(&mut PlainRecords).unwrap();
        assert_eq!(batch.unsent(), b"onetwo");
        let mut input = BytesMut::from(&b"onetwo"[..]);
        let payload = PlainRecords.open(&mut input).unwrap().unwrap();
        assert_eq!(&payload[..], b"onetwo");
        assert!(PlainRecords.open(&mut input).unwrap().is_none());
    }
}
