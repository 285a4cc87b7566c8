import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Scanner;

/**
 * Sends requests with the JDK's own client as it is by default, which offers HTTP/2 (`Upgrade: h2c`) with each of them.
 * Each line of the input is one: method, URL, form and headers (`name: value`), separated by tabs. Each line of the
 * output is its status, the version that was spoken, and the body without line ends.
 */
public class Requests {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        try (Scanner input = new Scanner(System.in, StandardCharsets.UTF_8)) {
            while (input.hasNextLine()) {
                String[] parts = input.nextLine().split("\t");
                HttpRequest.BodyPublisher body = parts[2].isEmpty()
                    ? HttpRequest.BodyPublishers.noBody()
                    : HttpRequest.BodyPublishers.ofString(parts[2]);
                HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(parts[1])).method(parts[0], body)
                    .header("Content-Type", "application/x-www-form-urlencoded");
                for (int place = 3; place < parts.length; place++) {
                    String[] header = parts[place].split(": ", 2);
                    request.header(header[0], header[1]);
                }
                HttpResponse<String> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
                System.out.println(answer.statusCode() + "\t" + answer.version() + "\t"
                    + answer.body().replaceAll("\\R", " "));
            }
        }
    }
}
