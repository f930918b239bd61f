import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import kafka.Kafka;
import kafka.tools.StorageTool;

/**
 * Starts one Kafka server, which ends with whoever holds the other end of its standard input.
 *
 * <p>The system ends that pipe when a test process dies, however it dies: no server is left behind.
 * {@code --alone} starts one that outlives its starter.
 *
 * <p>Usage: {@code Launch [--alone] CLUSTER_ID SERVER_PROPERTIES [SCRAM_USER...]}. An empty log folder
 * is formatted here: another JVM for that alone would take most of a second.
 */
public final class Launch {
    private Launch() {}

    public static void main(String[] args) throws IOException {
        List<String> rest = new ArrayList<>(List.of(args));
        if (rest.get(0).equals("--alone")) {
            rest.remove(0);
        } else {
            Thread watch = new Thread(Launch::endWithStarter, "starter");
            watch.setDaemon(true);
            watch.start();
        }
        String cluster = rest.remove(0);
        String file = rest.remove(0);
        Properties properties = new Properties();
        try (var reader = Files.newBufferedReader(Path.of(file))) {
            properties.load(reader);
        }
        if (!Files.exists(Path.of(properties.getProperty("log.dirs"), "meta.properties"))) {
            format(cluster, file, rest);
        }
        Kafka.main(new String[] {file});
    }

    private static void format(String cluster, String file, List<String> users) {
        List<String> words = new ArrayList<>(List.of("format", "-t", cluster, "-c", file));
        for (String user : users) {
            words.add("--add-scram");
            words.add(user);
        }
        int status = StorageTool.execute(words.toArray(String[]::new), System.err);
        if (status != 0) {
            System.exit(status);
        }
    }

    private static void endWithStarter() {
        try {
            while (System.in.read() >= 0) {
                // Nothing is ever said: only the end counts.
            }
        } catch (IOException gone) {
            // As good as the end.
        }
        Runtime.getRuntime().halt(0);
    }
}
