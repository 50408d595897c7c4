// A guard in Go. go run guard.go HOST PORT TIMES [unguarded]
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Dial looks for itself, but it redials twice at most, and hangs up with FIN, which leaves a TIME-WAIT. So the RST is
// asked for before it connects; a good connection takes that back.
func reset(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
}

func main() {
	address := net.JoinHostPort(os.Args[1], os.Args[2])
	times, _ := strconv.Atoi(os.Args[3])
	dialer := net.Dialer{Control: reset}
	connected, caught := 0, 0
	for i := 0; i < times; i++ {
		client, err := dialer.Dial("tcp", address)
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
