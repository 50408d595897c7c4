// A guard in Rust. rustc -O guard.rs && ./guard HOST PORT TIMES [unguarded]
use std::net::TcpStream;
use std::os::fd::AsRawFd;

// In the C library, which every program in Rust on Linux has. The crate socket2 wraps it: SockRef::set_linger.
extern "C" {
    fn setsockopt(fd: i32, level: i32, name: i32, value: *const [i32; 2], length: u32) -> i32;
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let address = (words[1].as_str(), words[2].parse::<u16>().unwrap());
    let (mut connected, mut caught) = (0, 0);
    for _ in 0..words[3].parse::<u32>().unwrap() {
        let Ok(client) = TcpStream::connect(address) else { continue };
        if words.len() == 4 && client.local_addr().unwrap() == client.peer_addr().unwrap() {
            // SOL_SOCKET, SO_LINGER, on, 0 s: dropping it sends RST and leaves no TIME-WAIT.
            unsafe { setsockopt(client.as_raw_fd(), 1, 13, &[1, 0], 8) };
            caught += 1;
        } else {
            connected += 1;
        }
    }
    println!("{connected} connected, {caught} caught");
}
