//! Each model; loom tries every order of its steps.

#[test]
fn a_write_is_never_left_lying() {
    peerkit_models::a_write_is_never_left_lying();
}

#[test]
fn a_reader_is_woken_by_bytes() {
    peerkit_models::a_reader_is_woken_by_bytes();
}

#[test]
fn a_reader_is_woken_by_the_end() {
    peerkit_models::a_reader_is_woken_by_the_end();
}

#[test]
fn a_paused_driver_goes_on_once_the_application_has_read() {
    peerkit_models::a_paused_driver_goes_on_once_the_application_has_read();
}

#[test]
fn a_full_pipe_wakes_its_writer() {
    peerkit_models::a_full_pipe_wakes_its_writer();
}

#[test]
fn a_reader_of_a_pipe_is_woken_by_its_end() {
    peerkit_models::a_reader_of_a_pipe_is_woken_by_its_end();
}
