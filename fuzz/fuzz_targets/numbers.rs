use watershed::config::ByteSize;
use watershed::exposition::{format_openmetrics_float, parse_float};
use watershed::model::DurationMs;
use watershed::model::number::{General, write_api, write_float};
use watershed::tsdb::block::Ulid;

/// What was read is written as something that is read as the same.
pub fn numbers(data: &[u8]) {
    if let Ok(v) = parse_float(data) {
        written(v);
    }
    if let Some(bits) = data.first_chunk() {
        written(f64::from_bits(u64::from_le_bytes(*bits)));
    }
    let text = super::text(data);
    if let Ok(duration) = text.parse::<DurationMs>() {
        assert_eq!(duration.to_string().parse::<DurationMs>(), Ok(duration), "{text:?}");
    }
    let _ = text.parse::<ByteSize>();
    if let Ok(ulid) = text.parse::<Ulid>() {
        assert_eq!(ulid.to_string().parse::<Ulid>().ok(), Some(ulid), "{text:?}");
    }
}

fn written(v: f64) {
    let mut forms = vec![General(v).to_string().into_bytes(), format_openmetrics_float(v).into()];
    for write in [write_api, write_float] {
        let mut out = Vec::new();
        write(&mut out, v);
        forms.push(out);
    }
    for form in forms {
        let again = parse_float(&form).unwrap_or_else(|e| panic!("{v} as {:?}: {e:?}", String::from_utf8_lossy(&form)));
        assert!(again == v || again.is_nan() && v.is_nan(), "{v} became {again}");
    }
}
