//! The remote write receiver.

use crate::support::http;
use crate::support::process::Home;

#[test]
fn the_receiver_is_off_unless_it_is_asked_for() {
    let home = Home::new();
    home.write_config("{}");
    let server = home.watershed(&[]);
    let headers = "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n";
    let reply = http::post_bytes(&format!("{}/api/v1/write", server.url), headers, &[0]).expect("an answer");
    assert_eq!(reply.status, 404);
}
