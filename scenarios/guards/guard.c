/* A guard in C. cc -o guard guard.c && ./guard HOST PORT TIMES [unguarded] */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether both names of a socket are the same, to the last octet. Then close() sends RST and leaves no TIME-WAIT. */
static int is_connected_to_itself(int fd) {
    struct sockaddr_storage local = {0}, peer = {0};
    socklen_t size = sizeof local, peer_size = sizeof peer;
    if (getsockname(fd, (void *)&local, &size) || getpeername(fd, (void *)&peer, &peer_size)) return 0;
    if (size != peer_size || memcmp(&local, &peer, size)) return 0;
    return !setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
}

int main(int count, char **words) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *to;
    int times[2] = {0}; /* connected, caught */
    if (count < 4 || getaddrinfo(words[1], words[2], &want, &to)) return 2;
    for (int i = atoi(words[3]); i > 0; i--) {
        int fd = socket(to->ai_family, SOCK_STREAM, 0);
        if (!connect(fd, to->ai_addr, to->ai_addrlen)) times[count == 4 && is_connected_to_itself(fd)]++;
        close(fd);
    }
    printf("%d connected, %d caught\n", times[0], times[1]);
}
