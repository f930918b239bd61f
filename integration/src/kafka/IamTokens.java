import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.auth.SaslExtensionsCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * Lets in who a broker of Amazon MSK would let in by IAM: whoever brings a request to connect, signed with
 * the secret key of the one user that the JAAS options name ({@code accessKey}, {@code secretKey},
 * {@code region}).
 *
 * <p>The token is the request's URL, presigned by Signature Version 4, in base64url. The signature is
 * computed anew from its parts by the published steps. AWS alone knows when a session ends; here its
 * session token says so: {@code until-} and milliseconds since 1970. What becomes of each token goes to
 * standard error in one line, without the token.
 */
public final class IamTokens implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final Set<String> UNSIGNED = Set.of("X-Amz-Signature", "User-Agent");
    private static final Duration LIFETIME_MAX = Duration.ofMinutes(15);
    private static final Duration SKEW_MAX = Duration.ofMinutes(5);
    private static final String SESSION = "until-";

    private String accessKey;
    private String secretKey;
    private String region;

    /** Made by Kafka, by the name of its class. */
    public IamTokens() {}

    private IamTokens(String accessKey, String secretKey, String region) {
        this.accessKey = accessKey;
        this.secretKey = secretKey;
        this.region = region;
    }

    /**
     * Says of each line {@code MILLISECONDS TOKEN} of standard input what becomes of the token at that time:
     * {@code until MILLISECONDS}, or why it is refused. Usage: {@code IamTokens ACCESS_KEY SECRET_KEY REGION}.
     */
    public static void main(String[] args) throws IOException {
        IamTokens tokens = new IamTokens(args[0], args[1], args[2]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", 2);
            try {
                Instant now = Instant.ofEpochMilli(Long.parseLong(words[0]));
                System.out.println("until " + tokens.endOf(words[1], now).toEpochMilli());
            } catch (Refused refused) {
                System.out.println(refused.getMessage());
            }
        }
    }

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {
        Map<String, ?> options = entries.get(0).getOptions();
        accessKey = (String) options.get("accessKey");
        secretKey = (String) options.get("secretKey");
        region = (String) options.get("region");
    }

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerValidatorCallback asked) {
                validate(asked);
            } else if (callback instanceof OAuthBearerTokenCallback asked) {
                // The broker connects to nobody by this listener.
                asked.token(null);
            } else if (!(callback instanceof SaslExtensionsCallback)) {
                throw new UnsupportedCallbackException(callback);
            }
        }
    }

    @Override
    public void close() {}

    private void validate(OAuthBearerValidatorCallback asked) {
        Instant now = Instant.now();
        try {
            Instant end = endOf(asked.tokenValue(), now);
            asked.token(new Token(asked.tokenValue(), accessKey, now.toEpochMilli(), end.toEpochMilli()));
            System.err.println("iam: accepted until " + end.toEpochMilli());
        } catch (Refused refused) {
            System.err.println("iam: refused: " + refused.getMessage());
            // As little as MSK tells.
            asked.error("Access denied", null, null);
        }
    }

    /** When a token ends that is good now. */
    private Instant endOf(String token, Instant now) {
        URI url = urlOf(token);
        String host = "kafka." + region + ".amazonaws.com";
        demand("https".equals(url.getScheme()), "the scheme is " + url.getScheme());
        demand(host.equals(url.getRawAuthority()), "the host is " + url.getRawAuthority());
        demand("/".equals(url.getRawPath()), "the path is " + url.getRawPath());
        Map<String, String> query = queryOf(url.getRawQuery());
        is(query, "Action", "kafka-cluster:Connect");
        is(query, "X-Amz-Algorithm", "AWS4-HMAC-SHA256");
        is(query, "X-Amz-SignedHeaders", "host");
        Instant signed = timeOf(query.getOrDefault("X-Amz-Date", ""));
        String day = query.get("X-Amz-Date").substring(0, 8);
        String scope = day + "/" + region + "/kafka-cluster/aws4_request";
        is(query, "X-Amz-Credential", accessKey + "/" + scope);
        Duration lifetime = lifetimeOf(query.getOrDefault("X-Amz-Expires", ""));
        String expected = signature(host, query, scope);
        demand(same(expected, query.getOrDefault("X-Amz-Signature", "")), "the signature is another");
        Instant end = signed.plus(lifetime);
        demand(!signed.isAfter(now.plus(SKEW_MAX)), "it is of the future: " + signed);
        demand(end.isAfter(now), "it ended " + end);
        Instant session = sessionEndOf(query.get("X-Amz-Security-Token"));
        demand(session.isAfter(now), "its session ended " + session);
        return session.isBefore(end) ? session : end;
    }

    private static URI urlOf(String token) {
        try {
            demand(!token.contains("="), "base64 with padding");
            byte[] bytes = Base64.getUrlDecoder().decode(token);
            return URI.create(new String(bytes, StandardCharsets.UTF_8));
        } catch (IllegalArgumentException no) {
            throw new Refused("no URL in base64: " + no.getMessage());
        }
    }

    private static Map<String, String> queryOf(String query) {
        Map<String, String> all = new TreeMap<>();
        for (String pair : (query == null ? "" : query).split("&")) {
            int at = pair.indexOf('=');
            demand(at > 0, "a parameter without value");
            String name = decoded(pair.substring(0, at));
            demand(all.put(name, decoded(pair.substring(at + 1))) == null, name + " comes twice");
        }
        return all;
    }

    /** A plus sign is one: only forms mean a space by it. */
    private static String decoded(String text) {
        return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    private static void is(Map<String, String> query, String name, String wanted) {
        String found = query.get(name);
        demand(wanted.equals(found), name + " is " + found);
    }

    private static Instant timeOf(String text) {
        try {
            return Instant.from(TIME.parse(text));
        } catch (DateTimeParseException no) {
            throw new Refused("X-Amz-Date is no time");
        }
    }

    private static Duration lifetimeOf(String seconds) {
        demand(seconds.matches("[0-9]{1,6}"), "X-Amz-Expires is no number");
        Duration lifetime = Duration.ofSeconds(Long.parseLong(seconds));
        demand(lifetime.compareTo(LIFETIME_MAX) <= 0, "X-Amz-Expires is " + seconds);
        return lifetime;
    }

    private static Instant sessionEndOf(String session) {
        if (session == null) {
            return Instant.MAX;
        }
        demand(session.matches(SESSION + "[0-9]{1,15}"), "no session of ours");
        return Instant.ofEpochMilli(Long.parseLong(session.substring(SESSION.length())));
    }

    /** Of a GET request without body whose only header is its host. */
    private String signature(String host, Map<String, String> query, String scope) {
        StringBuilder canonical = new StringBuilder();
        query.forEach((name, value) -> {
            if (!UNSIGNED.contains(name)) {
                canonical.append(canonical.isEmpty() ? "" : "&");
                canonical.append(encoded(name)).append('=').append(encoded(value));
            }
        });
        String request = String.join("\n",
                "GET", "/", canonical, "host:" + host, "", "host", hex(sha256("")));
        String toSign = String.join("\n",
                "AWS4-HMAC-SHA256", query.get("X-Amz-Date"), scope, hex(sha256(request)));
        byte[] key = ("AWS4" + secretKey).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = hmac(key, part);
        }
        return hex(hmac(key, toSign));
    }

    /** All but the unreserved characters of RFC 3986. */
    private static String encoded(String text) {
        StringBuilder all = new StringBuilder();
        for (byte one : text.getBytes(StandardCharsets.UTF_8)) {
            boolean unreserved = one > 0 && (Character.isLetterOrDigit(one) || "-._~".indexOf(one) >= 0);
            all.append(unreserved ? String.valueOf((char) one) : String.format("%%%02X", one));
        }
        return all.toString();
    }

    private static byte[] sha256(String text) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        } catch (GeneralSecurityException never) {
            throw new IllegalStateException(never);
        }
    }

    private static byte[] hmac(byte[] key, String text) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
        } catch (GeneralSecurityException never) {
            throw new IllegalStateException(never);
        }
    }

    private static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    private static boolean same(String one, String other) {
        return MessageDigest.isEqual(
                one.getBytes(StandardCharsets.UTF_8), other.getBytes(StandardCharsets.UTF_8));
    }

    private static void demand(boolean holds, String why) {
        if (!holds) {
            throw new Refused(why);
        }
    }

    private static final class Refused extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Refused(String why) {
            super(why);
        }
    }

    /** Who came, and until when: a connection is to show a new token by then. */
    private record Token(String value, String principalName, Long startTimeMs, long lifetimeMs)
            implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }
    }
}
