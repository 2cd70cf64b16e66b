//! Web config files, good and bad, checked by us and by a real promtool.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::certificates::{Authority, hash_of_right};
use crate::support::peers::Peers;

/// Files that both take.
const GOOD: &[&str] = &[
    "",
    "{}",
    "tls_server_config: {}",
    "tls_server_config:",
    "tls_server_config: {min_version: TLS13}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key}",
    "tls_server_config: {cert_file: ./server.pem, key_file: ../FOLDER/server.key, client_auth_type: NoClientCert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequestClientCert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireClientCert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAnyClientCert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: [a.example, 127.0.0.1]}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_allowed_sans: []}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS12, max_version: TLS13, prefer_server_cipher_suites: false}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS10}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, curve_preferences: [X25519, CurveP256, CurveP384, CurveP521]}",
    "http_server_config: {http2: false}",
    "http_server_config: {http2: yes, headers: {X-Frame-Options: deny, X-Content-Type-Options: nosniff}}",
    "http_server_config: {headers: {X-Frame-Options: sameorigin, X-XSS-Protection: '1', Strict-Transport-Security: max-age=1, Content-Security-Policy: x}}",
    "basic_auth_users:",
    "basic_auth_users: {alice: 'HASH', bob: 'HASH'}",
    "basic_auth_users: {1: 'HASH', 'a:b': 'HASH', '': 'HASH'}",
    "rate_limit: {interval: 1s, burst: 20}",
    "rate_limit: {interval: 1h2m3.5s, burst: 1}",
    "rate_limit: {interval: 0, burst: 0}",
    "rate_limit: {interval: -1s}",
    "rate_limit: {burst: 3}",
];

/// Files that both refuse.
const BAD: &[&str] = &[
    "tls_server_confg: {}",
    "tls_server_config: {cert_file: server.pem}",
    "tls_server_config: {key_file: server.key}",
    "tls_server_config: {client_auth_type: NoClientCert}",
    "tls_server_config: {client_ca_file: ca.pem}",
    "tls_server_config: {cert_file: nowhere.pem, key_file: server.key}",
    "tls_server_config: {cert_file: server.pem, key_file: nowhere.key}",
    "tls_server_config: {cert_file: server.pem, key_file: client.key}",
    "tls_server_config: {cert_file: server.key, key_file: server.key}",
    "tls_server_config: {cert_file: server.pem, key_file: server.pem}",
    "tls_server_config: {cert: nothing, key: nothing}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, client_auth_type: NoClientCert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: nowhere.pem, client_auth_type: RequireAndVerifyClientCert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: requireandverifyclientcert}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS14}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, max_version: 1.2}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, cipher_suites: TLS_AES_128_GCM_SHA256x}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, curve_preferences: [P256]}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, prefer_server_cipher_suites: maybe}",
    "tls_server_config: {cert_file: server.pem, key_file: server.key, ca_file: ca.pem}",
    "tls_server_config: [1]",
    "http_server_config: {http2: 7}",
    "http_server_config: {http3: true}",
    "http_server_config: {headers: {X-Frame-Options: allow}}",
    "http_server_config: {headers: {X-Content-Type-Options: ''}}",
    "http_server_config: {headers: {x-frame-options: deny}}",
    "http_server_config: {headers: {Server: me}}",
    "basic_auth_users: {alice: right}",
    "basic_auth_users: {alice: ''}",
    "basic_auth_users: {alice: '$3y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG'}",
    "basic_auth_users: {alice: '$2y$99$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG'}",
    "basic_auth_users: {alice: '$2y$03$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG'}",
    "basic_auth_users: {alice: 'HASH', alice: 'HASH'}",
    "basic_auth_users: [alice]",
    "rate_limit: {interval: 1d}",
    "rate_limit: {interval: fast}",
    "rate_limit: {burst: many}",
    "rate_limit: 5",
    "[]",
    "just text",
    "a: {b: c",
];

/// Files that the reference takes and we refuse, each with the reason.
const REFUSED_HERE: &[(&str, &str)] = &[
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS13, max_version: TLS12}",
        "no handshake could succeed",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, max_version: TLS11}",
        "versions below 1.2 are not spoken",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]}",
        "none of the ciphers is spoken",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, curve_preferences: [CurveP521]}",
        "none of the curves is spoken",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: server.key, client_auth_type: RequireAndVerifyClientCert}",
        "no client could be verified by a file without a certificate",
    ),
    (
        "basic_auth_users: {alice: '$2y$10$!!h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG'}",
        "no password could match a hash that is cut off or misspelt",
    ),
];

fn checks(exe: &Path, file: &Path) -> (bool, String) {
    let output = Command::new(exe).args(["check", "web-config"]).arg(file).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn what_is_a_good_web_config_file_is_the_same_here_and_for_promtool() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    authority.sign(dir.path(), "server");
    authority.sign(dir.path(), "client");
    let ours = Path::new(env!("CARGO_BIN_EXE_watershed"));
    let peers = Peers::find(&["promtool"]);
    let file = dir.path().join("web.yml");
    let folder = dir.path().file_name().expect("a name").to_string_lossy().into_owned();
    let good = GOOD.iter().map(|text| (*text, true, true));
    let bad = BAD.iter().map(|text| (*text, false, false));
    let mut wrong = Vec::new();
    for (text, here, there) in good.chain(bad).chain(REFUSED_HERE.iter().map(|(text, _)| (*text, false, true))) {
        let written = text.replace("HASH", &hash_of_right()).replace("FOLDER", &folder);
        fs::write(&file, written).expect("a file");
        let (taken, told) = checks(ours, &file);
        if taken != here || told.contains("panicked") {
            wrong.push(format!("watershed: {text}: {told}"));
        }
        if !taken && !told.contains("web.yml:") {
            wrong.push(format!("watershed names no place: {text}: {told}"));
        }
        if let Some(peers) = &peers {
            let (taken, told) = checks(&peers.path("promtool"), &file);
            if taken != there {
                wrong.push(format!("promtool: {text}: {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
