//! The server's side of WebSocket framing (RFC 6455, section 5.2): unmasked, so that one frame's bytes
//! are the same for every receiver and are made once.

use bytes::Bytes;

/// Bytes of the longest header of an unmasked frame.
pub(crate) const HEADER_MAX: usize = 10;

/// FIN and the opcode of a text frame.
const TEXT: u8 = 0x81;

/// A ping without payload.
pub(crate) const PING: &[u8] = &[0x89, 0];

/// The header of a text frame, at the end of the array, and where it begins.
fn header(payload: usize) -> ([u8; HEADER_MAX], usize) {
    let mut header = [0; HEADER_MAX];
    let start = match payload {
        0..=125 => {
            header[9] = payload as u8;
            8
        }
        126..=0xffff => {
            header[7] = 126;
            header[8..].copy_from_slice(&(payload as u16).to_be_bytes());
            6
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
            0
        }
    };
    header[start] = TEXT;
    (header, start)
}

/// Writes the header of a text frame before its payload, for which the first [`HEADER_MAX`] bytes of
/// the buffer were left free. Returns where the frame begins.
pub(crate) fn seal(buffer: &mut [u8]) -> usize {
    let (header, start) = header(buffer.len() - HEADER_MAX);
    buffer[start..HEADER_MAX].copy_from_slice(&header[start..]);
    start
}

/// A complete text frame, to be shared by all its receivers.
pub(crate) fn text(payload: &[u8]) -> Bytes {
    let (header, start) = header(payload.len());
    let mut frame = Vec::with_capacity(HEADER_MAX - start + payload.len());
    frame.extend_from_slice(&header[start..]);
    frame.extend_from_slice(payload);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_short_as_the_length_allows() {
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text(&vec![b'x'; length]);
            assert_eq!(frame[..header.len()], header);
            assert_eq!(frame.len(), header.len() + length);

            let mut buffer = vec![b'x'; HEADER_MAX + length];
            let start = seal(&mut buffer);
            assert_eq!(buffer[start..], frame);
        }
    }
}
