//! The raw backend: an echo so cheap that whatever stands in front of it is what is measured.
//!
//! It speaks HTTP/2 but not protobuf, reads no header, and answers a request that is complete with its own body and
//! `grpc-status: 0`, as a unary handler would. One thread, one `epoll`, at most one write per connection and turn.
//!
//! Whoever started it may write a byte to its standard input, and reads on its standard error how many RPCs were answered
//! so far. When that input ends, so does the process.

mod connection;

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::process;
use connection::Connection;

/// More connections than this are closed as they come. nginx opens one per RPC in flight.
const CONNECTIONS_MAX: usize = 4096;

/// Events of one turn; the others wait for the next.
const EVENTS_MAX: usize = 1024;

const LISTENER: Token = Token(usize::MAX);
const QUESTIONS: Token = Token(usize::MAX - 1);

/// A connection and its socket.
struct Client {
    socket: TcpStream,
    connection: Connection,
}

/// Serves on a free port of the loopback, and says which on standard error.
///
/// # Errors
/// There is no port, or no `epoll`.
pub(crate) fn run() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    // A terminal or a file cannot always be waited for; then nobody asks.
    let stdin = io::stdin();
    poll.registry().register(&mut SourceFd(&stdin.as_raw_fd()), QUESTIONS, Interest::READABLE).ok();
    process::tell(listener.local_addr()?);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut answered = 0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&poll, &listener, &mut clients)?,
                QUESTIONS => match stdin.lock().read(&mut [0])? {
                    0 => return Ok(()),
                    _ => process::tell(answered),
                },
                Token(at) => answered += clients.get_mut(at).map_or(0, turn),
            }
        }
    }
}

/// How many RPCs were answered. A slot may be empty or taken again: then the event is of a connection that is gone.
fn turn(slot: &mut Option<Client>) -> u64 {
    let Some(client) = slot else { return 0 };
    let result = client.turn();
    let answered = client.connection.take_answered();
    if result.is_err() {
        *slot = None;
    }
    answered
}

fn accept(poll: &Poll, listener: &TcpListener, clients: &mut Vec<Option<Client>>) -> io::Result<()> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let free = clients.iter().position(Option::is_none).unwrap_or(clients.len());
        if free == CONNECTIONS_MAX {
            continue;
        }
        socket.set_nodelay(true)?;
        poll.registry().register(&mut socket, Token(free), Interest::READABLE | Interest::WRITABLE)?;
        let client = Some(Client { socket, connection: Connection::new() });
        match clients.get_mut(free) {
            Some(slot) => *slot = client,
            None => clients.push(client),
        }
    }
}

impl Client {
    /// Reads what there is, answers it, and writes once.
    ///
    /// # Errors
    /// The connection is over, for whatever reason.
    fn turn(&mut self) -> io::Result<()> {
        loop {
            let space = self.connection.space();
            let wanted = space.len();
            match self.socket.read(space) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(size) => {
                    self.connection.received(size)?;
                    // Less than was asked for: the socket is empty, and will say so when it is not (epoll(7), question 9).
                    if size < wanted {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.connection.output().is_empty() {
            match self.socket.write(self.connection.output()) {
                Ok(size) => self.connection.written(size),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
