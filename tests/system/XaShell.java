import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.Base64;
import javax.sql.XAConnection;
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.postgresql.xa.PGXADataSource;

/**
 * An application's XA connection, as pgjdbc gives it, that a test works by hand: one command a
 * line, one answer a line.
 */
public class XaShell {
    record Branch(int format, byte[] global, byte[] branch) implements Xid {
        static Branch read(String[] words) {
            return new Branch(Integer.parseInt(words[1]), words[2].getBytes(), words[3].getBytes());
        }

        @Override public int getFormatId() { return format; }

        @Override public byte[] getGlobalTransactionId() { return global; }

        @Override public byte[] getBranchQualifier() { return branch; }

        // pgjdbc compares them.
        @Override public boolean equals(Object other) {
            return other instanceof Xid xid && format == xid.getFormatId()
                && Arrays.equals(global, xid.getGlobalTransactionId())
                && Arrays.equals(branch, xid.getBranchQualifier());
        }

        @Override public int hashCode() { return Arrays.hashCode(global); }
    }

    static String recover(XAResource resource) throws XAException {
        StringBuilder found = new StringBuilder("ok");
        for (Xid xid : resource.recover(XAResource.TMSTARTRSCAN | XAResource.TMENDRSCAN))
            found.append(' ').append(xid.getFormatId()).append('/')
                .append(new String(xid.getGlobalTransactionId())).append('/')
                .append(new String(xid.getBranchQualifier()));
        return found.toString();
    }

    static String obey(String[] words, XAResource resource, Connection connection)
            throws XAException, SQLException {
        switch (words[0]) {
        case "start":
            resource.start(Branch.read(words), XAResource.TMNOFLAGS);
            return "ok";
        case "sql":
            try (var statement = connection.createStatement()) {
                statement.execute(new String(Base64.getDecoder().decode(words[1])));
            }
            return "ok";
        case "end":
            resource.end(Branch.read(words), XAResource.TMSUCCESS);
            return "ok";
        case "prepare":
            return resource.prepare(Branch.read(words)) == XAResource.XA_OK ? "ok" : "read only";
        case "commit":
            resource.commit(Branch.read(words), false);
            return "ok";
        case "rollback":
            resource.rollback(Branch.read(words));
            return "ok";
        case "forget":
            resource.forget(Branch.read(words));
            return "ok";
        case "recover":
            return recover(resource);
        default:
            return "what is " + words[0] + "?";
        }
    }

    public static void main(String[] arguments) throws Exception {
        PGXADataSource source = new PGXADataSource();
        source.setUrl(arguments[0]);
        source.setUser(arguments[1]);
        XAConnection xa = source.getXAConnection();
        Connection connection = xa.getConnection();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String answer;
            try {
                answer = obey(line.split(" "), xa.getXAResource(), connection);
            } catch (XAException e) {
                answer = "XAException " + e.errorCode;
            } catch (SQLException e) {
                answer = "SQLException " + e.getSQLState();
            }
            System.out.println(answer);
        }
        xa.close();
    }
}
