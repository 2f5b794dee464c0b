//! Cuts a JSON body into its objects, so that an array of any length is decoded in a small buffer.
//!
//! A body is an array of objects, one object, or several in a row. Only the structure is looked at here: where an object
//! begins and ends. What is inside is for the decoder to judge.

/// The longest object, in bytes.
pub(super) const MAX_OBJECT: usize = 256 << 10;

/// Finds objects in a stream of pieces.
///
/// Invariant: `object` holds the bytes of the unfinished object, and is empty outside of one.
#[derive(Debug)]
pub(super) struct JsonStream {
    object: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    at: Place,
    line: u64,
    column: u64,
    began: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks so far.
    Start,
    /// In an array, an object must come (or, if none came yet, the end).
    ArrayStart,
    Next,
    /// In an array after an object.
    After,
    /// Outside of an array, after an object.
    Between,
    /// After the array.
    End,
}

/// Where a body is not what it should be. Nothing behind it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misplaced {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) message: &'static str,
}

impl JsonStream {
    pub(super) fn new() -> Self {
        Self {
            object: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            at: Place::Start,
            line: 1,
            column: 1,
            began: (1, 1),
        }
    }

    /// Hands each object that `piece` completes to `take`, with the line and column where it began.
    pub(super) fn feed(&mut self, piece: &[u8], take: &mut dyn FnMut(&[u8], (u64, u64))) -> Result<(), Misplaced> {
        for &byte in piece {
            if self.depth > 0 {
                self.inside(byte, take)?;
            } else {
                self.outside(byte)?;
            }
            if byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if byte & 0xc0 != 0x80 {
                self.column += 1;
            }
        }
        Ok(())
    }

    /// The body has ended.
    pub(super) fn finish(&self) -> Result<(), Misplaced> {
        match self.at {
            _ if self.depth > 0 => Err(self.wrong("the body ends inside an object")),
            Place::Start | Place::Between | Place::End => Ok(()),
            Place::ArrayStart | Place::Next | Place::After => Err(self.wrong("the body ends inside an array")),
        }
    }

    fn inside(&mut self, byte: u8, take: &mut dyn FnMut(&[u8], (u64, u64))) -> Result<(), Misplaced> {
        if self.object.len() == MAX_OBJECT {
            return Err(self.wrong("the object is longer than 256 KiB; send smaller ones"));
        }
        self.object.push(byte);
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if self.depth == 0 {
            take(&self.object, self.began);
            self.object.clear();
        }
        Ok(())
    }

    fn outside(&mut self, byte: u8) -> Result<(), Misplaced> {
        self.at = match (self.at, byte) {
            (at, b' ' | b'\t' | b'\r' | b'\n') => at,
            (Place::Start, b'[') => Place::ArrayStart,
            (Place::Start | Place::Between, b'{') => self.open(byte, Place::Between),
            (Place::ArrayStart | Place::Next, b'{') => self.open(byte, Place::After),
            (Place::ArrayStart | Place::After, b']') => Place::End,
            (Place::After, b',') => Place::Next,
            (Place::After, _) => return Err(self.wrong("expected \",\" or \"]\" after an object of the array")),
            (Place::End, _) => return Err(self.wrong("expected nothing after the array")),
            _ => return Err(self.wrong("expected an object of names and values, as in {\"temp\": 21.5}")),
        };
        Ok(())
    }

    fn open(&mut self, byte: u8, after: Place) -> Place {
        self.object.push(byte);
        self.depth = 1;
        self.began = (self.line, self.column);
        after
    }

    fn wrong(&self, message: &'static str) -> Misplaced {
        Misplaced { line: self.line, column: self.column, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, step: usize) -> (Vec<String>, Result<(), Misplaced>) {
        let mut stream = JsonStream::new();
        let mut objects = Vec::new();
        let mut take = |object: &[u8], _: (u64, u64)| objects.push(String::from_utf8(object.to_vec()).unwrap());
        let fed = text.as_bytes().chunks(step).try_for_each(|piece| stream.feed(piece, &mut take));
        (objects, fed.and_then(|()| stream.finish()))
    }

    #[test]
    fn objects_are_found_at_every_split_whatever_stands_around_them() {
        let object = r#"{"a":[{"b":"}\"]"}],"c":"\\"}"#;
        for text in [
            format!("[{object},\n {object} ]"),
            format!("{object}\n{object}\n"),
            format!(" {object}{object}"),
        ] {
            for step in 1..text.len() {
                assert_eq!(cut(&text, step), (vec![object.to_owned(), object.to_owned()], Ok(())), "{text} by {step}");
            }
        }
        assert_eq!(cut(" [ ] ", 1), (vec![], Ok(())));
        assert_eq!(cut("", 1), (vec![], Ok(())));
    }

    #[test]
    fn what_is_out_of_place_is_named_with_line_and_column() {
        for (text, line, column) in
            [("1", 1, 1), ("[{},\n1]", 2, 1), ("[{} {}]", 1, 5), ("[{}] x", 1, 6), ("[{},]", 1, 5), ("\"a\"", 1, 1)]
        {
            let error = cut(text, 3).1.unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_body_cut_short_at_any_byte_is_an_error() {
        let text = r#"[{"a":"x"},{"b":[1,2]}]"#;
        for end in 1..text.len() {
            assert!(cut(&text[..end], 4).1.is_err(), "{end}");
        }
    }

    #[test]
    fn an_endless_object_is_stopped_at_the_limit() {
        let text = format!("{{\"a\":\"{}", "x".repeat(MAX_OBJECT + 10));
        assert!(cut(&text, 4096).1.unwrap_err().message.contains("256 KiB"));
    }
}
