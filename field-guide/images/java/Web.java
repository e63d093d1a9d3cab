import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** A server whose /slow takes 2 s. With an argument a shutdown hook waits for what is being answered. */
public class Web {
  public static void main(String[] arguments) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress(8000), 50);
    server.createContext("/", exchange -> {
      if (exchange.getRequestURI().getPath().startsWith("/slow")) {
        try { Thread.sleep(2000); } catch (InterruptedException error) { }
      }
      exchange.sendResponseHeaders(200, 3);
      exchange.getResponseBody().write("ok\n".getBytes());
      exchange.close();
    });
    server.setExecutor(Executors.newCachedThreadPool());
    server.start();
    if (arguments.length > 0) Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(8)));
    System.out.println("ready");
  }
}
