// A guard in Java. java Guard.java HOST PORT TIMES [unguarded]
import java.io.IOException;
import java.net.Socket;

class Guard {
    public static void main(String[] words) {
        int connected = 0, caught = 0;
        for (int i = Integer.parseInt(words[2]); i > 0; i--) {
            try (Socket client = new Socket(words[0], Integer.parseInt(words[1]))) {
                if (words.length == 3 && client.getLocalSocketAddress().equals(client.getRemoteSocketAddress())) {
                    client.setSoLinger(true, 0); // close() sends RST and leaves no TIME-WAIT
                    caught++;
                } else {
                    connected++;
                }
            } catch (IOException refused) {
                continue;
            }
        }
        System.out.printf("%d connected, %d caught%n", connected, caught);
    }
}
