package assay.bench;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.List;
import java.util.Map;

/** Events as they are read and written: the parts of schemas/events.py that the common path needs. */
final class Facts {
  private Facts() {}

  /** What is read; `data` has the fields of all three types. */
  public static final class Event {
    public String id;
    public String type;
    public String subject;
    public String time;
    public Data data;
  }

  public static final class Data {
    public String project;
    public String kind;
    public String writer;
    public String slice;
    public String prompt;
    public int revision;
    public String voter;
    public String label;
    @JsonProperty("duration_milliseconds") public Long durationMilliseconds;
  }

  public record Envelope(
      String specversion, String id, String type, String source, String subject, String time, Object data) {}

  public record Origin(int partition, long offset, int index) {}

  public record Reached(
      String project,
      int revision,
      String verdict,
      String label,
      @JsonProperty("confidence_permille") int confidence,
      String because,
      @JsonProperty("policy_version") int policyVersion,
      String model,
      @JsonProperty("skills_version") int skillsVersion,
      @JsonProperty("log_odds_milli_nats") int logOdds,
      @JsonProperty("good_votes") int goodVotes,
      @JsonProperty("bad_votes") int badVotes,
      @JsonProperty("decided_by") List<Long> decidedBy,
      Origin origin) {}

  public record Reopened(String project, int revision, String verdict, String reason, Origin origin) {}

  public record Requested(
      String project,
      int revision,
      String because,
      @JsonProperty("votes_needed") int votesNeeded,
      @JsonProperty("votes_live") int votesLive,
      String label,
      @JsonProperty("confidence_permille") int confidence,
      @JsonProperty("confidence_needed_permille") int confidenceNeeded,
      @JsonProperty("log_odds_milli_nats") int logOdds,
      Origin origin) {}

  /** What one decision says about one person; equal where it says the same. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Scored(
      String project,
      String role,
      String outcome,
      int change,
      String submission,
      int revision,
      long hour,
      String label,
      String truth,
      @JsonProperty("credits_permille") Map<String, Integer> credits,
      @JsonProperty("duration_milliseconds") Long durationMilliseconds) {}

  /** The same with its origin, as it is written. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record ScoredAt(@com.fasterxml.jackson.annotation.JsonUnwrapped Scored scored, Origin origin) {}
}
