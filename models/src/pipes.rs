//! The two ends of a pipe in memory.

use std::{future::poll_fn, pin::Pin};

use futures::{AsyncRead, AsyncWrite};
use loom::{future::block_on, thread};

use crate::pipe::{Pipe, duplex};

/// A pipe with room for one byte carries two, whoever is quicker.
pub fn a_full_pipe_wakes_its_writer() {
    loom::model(|| {
        let (mut here, mut there) = duplex(1);
        let writer = thread::spawn(move || {
            block_on(async {
                write(&mut here).await;
                write(&mut here).await;
            });
            here
        });
        block_on(async {
            assert_eq!(read(&mut there).await, 1);
            assert_eq!(read(&mut there).await, 1);
        });
        writer.join().expect("both bytes are written");
    });
}

/// The far end goes while a reader begins to wait.
pub fn a_reader_of_a_pipe_is_woken_by_its_end() {
    loom::model(|| {
        let (here, mut there) = duplex(1);
        let leaver = thread::spawn(move || drop(here));
        assert_eq!(block_on(read(&mut there)), 0);
        leaver.join().expect("it is gone");
    });
}

async fn write(pipe: &mut Pipe) {
    let written = poll_fn(|cx| Pin::new(&mut *pipe).poll_write(cx, b"x")).await;
    assert!(matches!(written, Ok(1)));
}

async fn read(pipe: &mut Pipe) -> usize {
    let mut buffer = [0; 4];
    let read = poll_fn(|cx| Pin::new(&mut *pipe).poll_read(cx, &mut buffer)).await;
    read.expect("the pipe is whole")
}
