/*
 * Transfer.java - moves money between two PostgreSQL databases: in both or in neither.
 *
 *     ASSENT_HTTP=http://127.0.0.1:7480 ACCOUNTS=jdbc:postgresql://host/accounts \
 *     LEDGER=jdbc:postgresql://host/ledger \
 *         java -cp /usr/share/java/postgresql.jar Transfer.java 30 payment-4711
 *
 * The SQL runs on pgjdbc's XA connections, as any transaction manager uses them: start, SQL, end,
 * prepare. Then Assent, over HTTP, commits; nothing more is done with that Xid here. The second
 * argument is the name of this payment: run again with it, after whatever crash, the money moves
 * once.
 */
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.sql.XAConnection;
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.postgresql.xa.PGXADataSource;

public class Transfer {
    /** Assent answered with an error; its code is a word of doc/errors.md. */
    static class Refused extends Exception {
        final String code, reply;
        final boolean retryable;

        Refused(String reply) {
            super(field(reply, "code") + ": " + field(reply, "message"));
            this.reply = reply;
            code = field(reply, "code");
            retryable = reply.contains("\"retryable\":true");
        }
    }

    /** Nothing has happened, in no database. The transfer may be run again from the start. */
    static class RolledBack extends Exception {
        RolledBack(String why) {
            super(why);
        }
    }

    /** The name of a branch, as enlist has answered it. */
    record Branch(int format, byte[] gtrid, byte[] bqual) implements Xid {
        @Override
        public int getFormatId() {
            return format;
        }

        @Override
        public byte[] getGlobalTransactionId() {
            return gtrid;
        }

        @Override
        public byte[] getBranchQualifier() {
            return bqual;
        }
    }

    static class Transaction {
        private static final Duration PATIENCE = Duration.ofSeconds(10);
        private final HttpClient http =
                HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        private final String url;
        private final List<XAResource> resources = new ArrayList<>();
        private final List<Xid> xids = new ArrayList<>();
        private int prepared;
        String gtrid;

        Transaction(String url) {
            this.url = url;
        }

        /** One request. IOException: no answer, and whether it was heard is not known. */
        String call(String method, String path, String body, String... headers)
                throws IOException, InterruptedException, Refused {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + path))
                    .timeout(PATIENCE).header("Content-Type", "application/json")
                    .method(method, body == null ? HttpRequest.BodyPublishers.noBody()
                                                 : HttpRequest.BodyPublishers.ofString(body));
            if (headers.length > 0)
                request.headers(headers);
            String reply = http.send(request.build(), HttpResponse.BodyHandlers.ofString()).body();
            if (!reply.contains("\"ok\":true"))
                throw new Refused(reply);
            return reply;
        }

        /** A request that may be sent again without harm, until it is answered. */
        String insist(String path, String body, String... headers) throws Exception {
            for (int tries = 1;; tries++) {
                try {
                    return call("POST", path, body, headers);
                } catch (Refused why) {
                    if (!why.retryable || tries == 5)
                        throw why;
                } catch (IOException why) {
                    if (tries == 5)
                        throw why;
                }
                Thread.sleep(200);
            }
        }

        void begin(String key) throws Exception {
            // Whichever of these arrives first begins the transaction, any other finds it.
            String reply = insist("/v1/transactions",
                    "{\"label\":\"Transfer.java\",\"key\":\"" + key + "\"}",
                    "Idempotency-Key", UUID.randomUUID().toString());
            gtrid = field(reply, "gtrid");
        }

        /** What is done on this connection until commit() is part of the transaction. */
        Connection join(String rm, XAConnection connection) throws Exception {
            String reply = insist("/v1/transactions/" + gtrid + "/branches",
                    "{\"rm\":\"" + rm + "\"}");
            String xid = reply.substring(reply.indexOf("\"xid\""));
            Xid branch = new Branch(Integer.parseInt(field(xid, "format_id")),
                    field(xid, "gtrid").getBytes(StandardCharsets.UTF_8),
                    field(xid, "bqual").getBytes(StandardCharsets.UTF_8));
            connection.getXAResource().start(branch, XAResource.TMNOFLAGS);
            resources.add(connection.getXAResource());
            xids.add(branch);
            return connection.getConnection();
        }

        void commit() throws Exception {
            for (; prepared < xids.size(); prepared++) {
                resources.get(prepared).end(xids.get(prepared), XAResource.TMSUCCESS);
                resources.get(prepared).prepare(xids.get(prepared));
            }
            String reply = "";
            try {
                reply = call("POST", "/v1/transactions/" + gtrid + "/commit", "{}");
            } catch (IOException why) {
                System.err.println("no answer yet (" + why + "): asking for the outcome");
            } catch (Refused why) {
                if (!why.retryable)
                    throw why;
            }
            settle(reply);
        }

        /**
         * The transaction has committed or it has not: only the coordinator knows. To run the
         * transfer again now could do it twice; to ask again never harms.
         */
        void settle(String reply) throws Exception {
            while (field(reply, "outcome").isEmpty()
                    || field(reply, "outcome").equals("in-progress")) {
                Thread.sleep(200);
                try {
                    reply = call("GET", "/v1/transactions/" + gtrid + "/outcome", null);
                } catch (IOException why) {
                    continue;
                } catch (Refused why) {
                    if (!why.retryable)
                        throw why;
                }
            }
            if (!field(reply, "outcome").equals("committed"))
                throw new RolledBack(field(reply, "message"));
        }

        /** Ends what is not prepared here; what is prepared, is Assent's to roll back. */
        void rollBack() {
            for (int i = prepared; i < xids.size(); i++) {
                try {
                    resources.get(i).end(xids.get(i), XAResource.TMFAIL);
                } catch (XAException ended) {
                    // prepare() had come so far
                }
                try {
                    resources.get(i).rollback(xids.get(i));
                } catch (XAException lost) {
                    // PostgreSQL has rolled it back
                }
            }
            try {
                call("POST", "/v1/transactions/" + gtrid + "/rollback", "{}");
            } catch (Exception why) {
                // its time runs out, and it is rolled back then
            }
        }
    }

    /** The first text of that name; real programs have a JSON library. */
    static String field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        return found.find() ? found.group(1) : "";
    }

    static XAConnection connect(String url) throws SQLException {
        PGXADataSource source = new PGXADataSource();
        source.setUrl(url);
        return source.getXAConnection();
    }

    static void update(Connection connection, String sql, long amount) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setLong(1, amount);
            statement.executeUpdate();
        }
    }

    static void transfer(Transaction transaction, XAConnection accounts, XAConnection ledger,
            String payment, long amount) throws Exception {
        try {
            transaction.begin(payment);
        } catch (Refused why) {
            if (!why.code.equals("key_in_use"))
                throw why;
            transaction.gtrid = field(why.reply, "gtrid"); // an earlier run of ours
            transaction.settle("");
            return;
        }
        try {
            update(transaction.join("accounts", accounts),
                    "update account set balance = balance - ? where id = 1", amount);
            update(transaction.join("ledger", ledger),
                    "update account set balance = balance + ? where id = 1", amount);
            transaction.commit();
        } catch (RolledBack why) {
            throw why;
        } catch (Exception why) {
            transaction.rollBack();
            throw why;
        }
    }

    public static void main(String[] arguments) throws Exception {
        XAConnection accounts = connect(System.getenv("ACCOUNTS"));
        XAConnection ledger = connect(System.getenv("LEDGER"));
        try {
            transfer(new Transaction(System.getenv("ASSENT_HTTP")), accounts, ledger, arguments[1],
                    Long.parseLong(arguments[0]));
            System.out.println("committed");
        } catch (Exception why) {
            System.err.println("rolled back: " + why.getMessage());
            System.exit(1);
        } finally {
            accounts.close();
            ledger.close();
        }
    }
}
