/* A guard in C. cc -o guard guard.c && ./guard HOST PORT TIMES [unguarded] */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Both names of a socket that is connected to itself are the same, to the last octet. */
static int is_connected_to_itself(int fd) {
    struct sockaddr_storage local = {0}, peer = {0};
    socklen_t local_length = sizeof local, peer_length = sizeof peer;
    return !getsockname(fd, (struct sockaddr *)&local, &local_length) &&
           !getpeername(fd, (struct sockaddr *)&peer, &peer_length) &&
           local_length == peer_length && !memcmp(&local, &peer, local_length);
}

int main(int count, char **words) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *to;
    struct linger reset = {1, 0};
    int connected = 0, caught = 0;
    if (count < 4 || getaddrinfo(words[1], words[2], &want, &to)) return 2;
    for (int i = atoi(words[3]); i > 0; i--) {
        int fd = socket(to->ai_family, SOCK_STREAM, 0);
        if (!connect(fd, to->ai_addr, to->ai_addrlen)) {
            if (count == 4 && is_connected_to_itself(fd)) {
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset); /* RST: leave no TIME-WAIT */
                caught++;
            } else {
                connected++;
            }
        }
        close(fd);
    }
    printf("%d connected, %d caught\n", connected, caught);
}
