use watershed::cli::{print_answer, pushed_messages};

/// The answer of a server that is asked, as it is printed and drawn.
pub fn answer(data: &[u8]) {
    drop(print_answer(data));
}

/// A text of metrics as it is checked and pushed: what is sent are messages.
pub fn pushed(data: &[u8]) {
    if let Some([first, second]) = pushed_messages(data) {
        super::remote::write_v1(&first);
        super::remote::write_v2(&second);
    }
}
