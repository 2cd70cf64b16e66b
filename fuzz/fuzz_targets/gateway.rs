use std::sync::LazyLock;

use watershed::gateway::{GatewayConfig, Routes, read_answer};

/// What is read is never longer than what was sent.
pub fn answer(data: &[u8]) {
    assert!(read_answer(data).iter().all(|length| *length <= data.len()));
}

/// A path that is routed has no part that leads elsewhere, however a server resolves it.
pub fn path(data: &[u8]) {
    static ROUTES: LazyLock<Routes> = LazyLock::new(|| Routes::new(&GatewayConfig::default()));
    let path = super::text(data);
    if ROUTES.find(path).is_ok() {
        let resolved = resolved(path.as_bytes());
        let parts = resolved.split(|byte| matches!(byte, b'/' | b'\\'));
        assert!(parts.into_iter().all(|part| !matches!(part, b"." | b"..")), "{path:?}");
    }
}

/// With every percent sign and the two digits behind it as the byte that they mean.
fn resolved(mut rest: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::new();
    while let [first, after @ ..] = rest {
        let byte = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(byte.map_or(*first, |byte| byte as u8));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}
