use watershed::web::{check_parameter, read_header};

pub fn parameters(data: &[u8]) {
    let _ = check_parameter(super::text(data), "time");
}

/// What is decoded is never longer than what was sent.
pub fn headers(data: &[u8]) {
    if let Some((credentials, name)) = read_header(data) {
        assert!(credentials <= data.len() && name <= data.len());
    }
}
