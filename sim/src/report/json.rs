//! JSON that people can read and line tools can compare: an object or a list has one line for each
//! of its entries, down to objects in the third level, which take one line each.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Objects deeper than this are written in one line.
const LEVELS: usize = 2;

/// A document, with a line break at its end.
pub(super) fn pretty(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Lines::default());
    value
        .serialize(&mut serializer)
        .expect("strings, whole numbers and maps of them, written to memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

#[derive(Default)]
struct Lines {
    depth: usize,
    /// The depth of the object that is being written in one line.
    flat: Option<usize>,
    /// The container being written has entries.
    filled: bool,
}

impl Lines {
    fn open(&mut self, writer: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close(&mut self, writer: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled && self.flat.is_none() {
            self.indent(writer)?;
        }
        // What is around it has this entry.
        self.filled = true;
        self.flat = self.flat.filter(|depth| *depth <= self.depth);
        writer.write_all(bracket)
    }

    fn entry(&mut self, writer: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        self.filled = true;
        match (first, self.flat) {
            (true, Some(_)) => Ok(()),
            (false, Some(_)) => writer.write_all(b", "),
            (true, None) => self.indent(writer),
            (false, None) => {
                writer.write_all(b",")?;
                self.indent(writer)
            }
        }
    }

    fn indent(&self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.entry(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")?;
        if self.depth > LEVELS && self.flat.is_none() {
            self.flat = Some(self.depth);
        }
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.entry(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_have_lines_down_to_the_third_level() {
        let value = json!({
            "a": [{"x": 1, "y": [1, 2]}, {}],
            "b": {"c": {"d": {"e": 2}, "f": 3}, "g": [], "h": [4]},
        });
        let golden = r#"{
  "a": [
    {"x": 1, "y": [1, 2]},
    {}
  ],
  "b": {
    "c": {"d": {"e": 2}, "f": 3},
    "g": [],
    "h": [
      4
    ]
  }
}
"#;
        assert_eq!(pretty(&value), golden);
    }
}
