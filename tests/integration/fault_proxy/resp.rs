//! As much of RESP as it takes to tell one request or reply from the next. Versions 2 and 3.

/// The length of the first frame, once all of it is there.
pub(super) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut missing) = (0, 1_usize);
    while missing > 0 {
        let line = line(bytes.get(at..)?)?;
        at += line.len() + 2;
        missing -= 1;
        let count = || std::str::from_utf8(&line[1..]).ok()?.parse::<usize>().ok();
        match line.first()? {
            // A null has the length -1, and nothing behind it.
            b'$' | b'=' | b'!' => at += count().map_or(0, |length| length + 2),
            b'*' | b'~' | b'>' => missing += count().unwrap_or(0),
            b'%' => missing += 2 * count().unwrap_or(0),
            // Attributes stand before what they belong to.
            b'|' => missing += 2 * count().unwrap_or(0) + 1,
            _ => {}
        }
    }
    (at <= bytes.len()).then_some(at)
}

/// True for what a server sends unasked.
pub(super) fn is_push(frame: &[u8]) -> bool {
    frame.first() == Some(&b'>')
}

/// The first arguments of a request.
pub(super) fn arguments(request: &[u8], count: usize) -> Vec<&[u8]> {
    let mut arguments = Vec::new();
    let mut rest = match line(request) {
        Some(line) if line.first() == Some(&b'*') => &request[line.len() + 2..],
        _ => return arguments,
    };
    while arguments.len() < count
        && let Some(length) = frame_len(rest)
        && let Some(header) = line(rest)
    {
        arguments.push(&rest[header.len() + 2..length - 2]);
        rest = &rest[length..];
    }
    arguments
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[..end])
}
