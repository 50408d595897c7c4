// A guard in Go. go run guard.go HOST PORT TIMES [unguarded]
package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// Dial looks for itself, but it redials twice at most, and hangs up with FIN, which leaves a TIME-WAIT. So the RST is
// asked for before it connects; a good connection takes that back.
var guarded = net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
}}

func main() {
	var times, connected, caught int
	for fmt.Sscan(os.Args[3], &times); times > 0; times-- {
		client, err := guarded.Dial("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
		if err != nil {
			continue
		}
		if len(os.Args) == 4 && client.LocalAddr().String() == client.RemoteAddr().String() {
			caught++
		} else {
			client.(*net.TCPConn).SetLinger(-1)
			connected++
		}
		client.Close()
	}
	fmt.Printf("%d connected, %d caught\n", connected, caught)
}
