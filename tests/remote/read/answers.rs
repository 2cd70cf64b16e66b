//! What is answered to a remote read, beside a real Prometheus on a copy of the same data.

use watershed::remote::read::ResponseKind;
use watershed::remote::snappy;
use watershed::storage::SeriesChunks;

use super::data::{ask, copy_dir, decode, home_with_data, post, query, values};
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

const KINDS: [ResponseKind; 2] = [ResponseKind::Samples, ResponseKind::StreamedChunks];
const CONFIG: &str = "global: {scrape_interval: 1h, external_labels: {site: edge, replica: '1'}}\n";

struct Both {
    ours: Server,
    theirs: Server,
    span: (i64, i64),
    _homes: [Home; 2],
}

impl Both {
    fn start(peers: &Peers, flags: &[&str]) -> Both {
        let (their_home, span) = home_with_data(peers);
        let our_home = Home::new();
        our_home.write_config(CONFIG);
        their_home.write_config(CONFIG);
        copy_dir(&their_home.data_path(), &our_home.data_path());
        let (theirs, ours) = (their_home.prometheus(peers, flags), our_home.watershed(flags));
        Both { ours, theirs, span, _homes: [our_home, their_home] }
    }
}

/// Whether the samples are the same to the bit; chunks may be cut elsewhere.
fn assert_same(ours: &[SeriesChunks], theirs: &[SeriesChunks], what: &str) {
    let shape = |all: &[SeriesChunks]| all.iter().map(|s| (s.labels.to_string(), values(s).len())).collect::<Vec<_>>();
    assert_eq!(shape(ours), shape(theirs), "{what}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        for (a, b) in values(ours).iter().zip(&values(theirs)) {
            // Among samples the reference leaves out values that equal 0, and so loses a sign; chunks keep it.
            let lost_sign = what.starts_with("Samples") && a.float() == Some(0.0) && b.float() == Some(0.0);
            assert!(a.is_same(b) || lost_sign, "{what}: {}: {a:?} is not {b:?}", ours.labels);
        }
    }
}

#[test]
fn both_kinds_of_answers_are_those_of_the_reference() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let both = Both::start(&peers, &[]);
    let (start, end) = both.span;
    let spans =
        [(start, end), (i64::MIN, i64::MAX), (start + 100_001, end - 700_000), (start, start), (end + 1, end + 9)];
    // As samples 3.5 sends histograms with custom bounds without their bounds, so `h_4` is looked at below.
    let selectors: [&[&str]; 7] = [
        &["__name__!=h_4"],
        &["__name__=requests_total"],
        &["__name__=special"],
        &["__name__=~h_[0-3]"],
        &["__name__=gaps", "site=edge", "replica=1"],
        &["instance!=a:1", "code=~4..|5.."],
        &["__name__=nothing"],
    ];
    let (mut samples, mut same_chunks, mut chunks) = (0, 0, 0);
    for span in spans {
        for selector in selectors {
            for kind in KINDS {
                let [ours, theirs] = [&both.ours, &both.theirs].map(|s| ask(s, vec![query(span, selector)], kind));
                for name in ["content-type", "content-encoding"] {
                    assert_eq!(ours.header(name), theirs.header(name), "{name}");
                }
                let (mut ours, mut theirs) = (decode(&ours, kind), decode(&theirs, kind));
                if kind == ResponseKind::Samples {
                    // The reference sends samples in the order in which its store comes upon them.
                    [&mut ours, &mut theirs].into_iter().for_each(|all| all.sort_by(|a, b| a.labels.cmp(&b.labels)));
                }
                assert_same(&ours, &theirs, &format!("{kind:?} {selector:?} {span:?}"));
                samples += ours.iter().map(|s| values(s).len()).sum::<usize>();
                if kind == ResponseKind::StreamedChunks && span == (start, end) {
                    let all = |s: &[SeriesChunks]| s.iter().flat_map(|s| s.chunks.clone()).collect::<Vec<_>>();
                    let (ours, theirs) = (all(&ours), all(&theirs));
                    chunks += ours.len();
                    same_chunks += ours.iter().zip(&theirs).filter(|(a, b)| a.data == b.data).count();
                }
            }
        }
    }
    let [sampled, streamed] =
        KINDS.map(|kind| decode(&ask(&both.ours, vec![query(both.span, &["__name__=h_4"])], kind), kind));
    let theirs = ask(&both.theirs, vec![query(both.span, &["__name__=h_4"])], ResponseKind::StreamedChunks);
    assert_same(&sampled, &streamed, "h_4");
    assert_same(&streamed, &decode(&theirs, ResponseKind::StreamedChunks), "h_4");
    assert!(samples > 50_000, "{samples}");
    assert_eq!(same_chunks, chunks, "chunks that lie whole in the range are handed on as they are stored");
    println!("{samples} samples and {chunks} chunks are the same");
}

#[test]
fn several_queries_are_answered_one_after_the_other() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let both = Both::start(&peers, &["--storage.remote.read-max-bytes-in-frame=2000"]);
    let queries = || ["requests_total", "nothing", "h_1"].map(|name| query(both.span, &[&format!("__name__={name}")]));
    let [ours, theirs] = [&both.ours, &both.theirs].map(|s| ask(s, queries().to_vec(), ResponseKind::Samples));
    let results = |body: &[u8]| {
        let mut message = Vec::new();
        snappy::decode(body, 1 << 30, &mut message).expect("a packed message");
        let fields = watershed::net::protobuf::Fields::new(&message);
        fields.map(|f| f.expect("a field").message().expect("a result").count()).collect::<Vec<_>>()
    };
    assert_eq!(results(&ours.body), [9, 0, 1]);
    assert_eq!(results(&ours.body), results(&theirs.body));
    let indexes = |body: &[u8]| {
        let (mut framing, mut indexes) = (watershed::remote::read::Framing::new(1 << 20), Vec::new());
        framing.push(body);
        while let Some(frame) = framing.next_frame().expect("frames") {
            let fields = watershed::net::protobuf::Fields::new(frame);
            let index = fields.map(|f| f.expect("a field")).find(|f| f.number == 2);
            indexes.push(index.map_or(0, |f| f.varint().expect("a number")));
            assert!(frame.len() <= 2000, "{}", frame.len());
        }
        indexes.dedup();
        indexes
    };
    let [ours, theirs] = [&both.ours, &both.theirs].map(|s| ask(s, queries().to_vec(), ResponseKind::StreamedChunks));
    assert_eq!(indexes(&ours.body), [0, 2]);
    // The reference's frames may be larger than their limit by a chunk, so only ours are measured.
    assert!(!theirs.body.is_empty());
}

#[test]
fn conditions_on_external_labels_are_held_against_what_the_reader_sees() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let both = Both::start(&peers, &[]);
    // What `sited` has of `site`: edge, far, and twice nothing, which a reader sees as edge, too.
    let (edge, far, zone, upper) = ("site=\"edge\"", "site=\"far\"", "zone=\"a\"", "Upper=\"x\"");
    for (condition, selected, is_theirs_too) in [
        ("site=edge", &[edge, zone, upper][..], false),
        ("site=far", &[far], true),
        ("site=", &[], false),
        ("site!=edge", &[far], false),
        ("site!=far", &[edge, zone, upper], true),
        ("site!=", &[edge, far, zone, upper], false),
        ("site=~e.*", &[edge, zone, upper], false),
        ("site=~far|", &[far], false),
        ("site=~.+", &[edge, far, zone, upper], false),
        ("site=~.*", &[edge, far, zone, upper], true),
        ("site!~e.*", &[far], false),
        ("site!~f.*", &[edge, zone, upper], true),
        ("site!~.+", &[], false),
        ("site!~", &[edge, far, zone, upper], false),
        ("replica=1", &[edge, far, zone, upper], true),
        ("replica=2", &[], true),
        ("replica!=1", &[], false),
    ] {
        for kind in KINDS {
            let queries = || vec![query(both.span, &["__name__=sited", condition])];
            let ours = decode(&ask(&both.ours, queries(), kind), kind);
            let found = |label: &&str| ours.iter().filter(|s| s.labels.to_string().contains(*label)).count();
            let sites = |site: &str| ours.iter().filter(|s| s.labels.get("site") == Some(site)).count();
            assert_eq!(ours.len(), selected.len(), "{condition} {kind:?}: {ours:?}");
            assert!(selected.iter().all(|label| found(label) > 0), "{condition} {kind:?}");
            assert_eq!(sites("far"), usize::from(selected.contains(&far)), "{condition} {kind:?}");
            let theirs = decode(&ask(&both.theirs, queries(), kind), kind);
            // The reference turns `=` with the external value itself into `=""` and leaves all else as it is.
            assert_eq!(theirs.len() == ours.len(), is_theirs_too, "{condition}: the reference has {}", theirs.len());
        }
    }
}

#[test]
fn what_cannot_be_answered_is_refused_as_the_reference_refuses_it() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let both = Both::start(&peers, &["--storage.remote.read-sample-limit=1000"]);
    let servers = [&both.ours, &both.theirs];
    let too_many = || vec![query(both.span, &["__name__=requests_total"])];
    let [ours, theirs] = servers.map(|s| ask(s, too_many(), ResponseKind::Samples));
    assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()));
    assert_eq!((ours.status, &*ours.text()), (400, "exceeded sample limit (1000)\n"));
    assert_eq!(servers.map(|s| ask(s, too_many(), ResponseKind::StreamedChunks).status), [200, 200]);
    let packed = |message: &[u8]| {
        let mut body = Vec::new();
        snappy::encode(message, &mut body).expect("a small message");
        body
    };
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    for (what, body) in [
        ("no body", Vec::new()),
        ("garbage", b"garbage".to_vec()),
        ("a bomb", bomb.to_vec()),
        ("no message", packed(&[0x0a, 9, 1])),
        ("an unknown kind of answer", packed(&[0x12, 1, 7])),
    ] {
        assert_eq!(servers.map(|s| post(s, &body).status), [400, 400], "{what}");
    }
    // Ours knows whose mistake it is.
    let bad_operator = packed(&[0x0a, 4, 0x1a, 2, 0x08, 9]);
    assert_eq!(servers.map(|s| post(s, &bad_operator).status), [400, 500]);
    let get = |s: &Server| http::get(&format!("{}/api/v1/read", s.url)).expect("an answer").status;
    assert_eq!(servers.map(get), [405, 405]);
    let empty = packed(&[]);
    for response in servers.map(|s| post(s, &empty)) {
        assert_eq!((response.status, &response.body[..]), (200, &[0][..]), "no queries, no results");
    }
}
