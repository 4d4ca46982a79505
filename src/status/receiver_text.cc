#include "status/receiver_text.h"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "status/json_words.h"
#include "status/serving_text.h"
#include "wal/lsn.h"

namespace weir::status {

namespace {

using Json = nlohmann::json;

std::string comparison_text(const Json& receiver) {
  const auto found = receiver.find("comparison");
  if (found == receiver.end() || !found->is_object()) return {};
  auto text = fmt::format("  compared with {}: {}", word_of(*found, "with"),
                          word_of(*found, "lsn") == "-"
                              ? std::string("nothing yet")
                              : fmt::format("up to {}, {}", word_of(*found, "lsn"),
                                            format_size(found->value("bytes", std::uint64_t{0}))));
  const auto differences = found->value("differences", std::uint64_t{0});
  text += differences == 0
              ? ", no difference\n"
              : fmt::format("\n  CRITICAL: other WAL in {}: {}\n", counted(differences, "segment"),
                            found->value("difference", ""));
  if (found->contains("problem"))
    text += fmt::format("  WARNING: it cannot be compared: {}\n", found->value("problem", ""));
  return text;
}

/// "store: s3://wal/p/main: 12 segments (192 MB) behind, the oldest since …".
std::string store_text(const Json& receiver) {
  const auto found = receiver.find("store");
  if (found == receiver.end() || !found->is_object()) return {};
  const auto& store = *found;
  auto text = fmt::format("  store: {}: ", word_of(store, "store"));
  const auto segments = store.value("pending_segments", std::uint64_t{0});
  const auto histories = store.value("pending_histories", std::uint64_t{0});
  if (segments + histories == 0)
    text += store.contains("sent_to")
                ? fmt::format("all is there, up to {}", store.value("sent_to", ""))
                : std::string("nothing to send");
  else
    text += fmt::format("{} ({}) behind, the oldest since {}",
                        segments > 0 ? counted(segments, "segment") : std::string("a history"),
                        format_size(store.value("pending_bytes", std::uint64_t{0})),
                        word_of(store, "pending_since"));
  text += "\n";
  if (store.contains("since")) {
    text += fmt::format("  {}: since {}: {}\n",
                        store.value("needs_person", false) ? "CRITICAL" : "WARNING",
                        word_of(store, "since"), word_of(store, "last_error"));
    if (store.contains("hint")) text += fmt::format("    {}\n", store.value("hint", ""));
    if (store.contains("next_try"))
      text += fmt::format("    next try at {}\n", store.value("next_try", ""));
  }
  if (const auto again = store.value("sent_again", std::uint64_t{0}); again > 0)
    text += fmt::format("  WARNING: {} had been sent, and had to be sent again\n",
                        counted(again, "segment"));
  if (const auto unseen = store.value("not_compared", std::uint64_t{0}); unseen > 0)
    text += fmt::format("    {} segments are present there, not compared\n", unseen);
  if (const auto chain = store.find("manifest"); chain != store.end() && chain->is_object())
    text += fmt::format("    manifest {}: {} lines, {}; head {}\n", word_of(*chain, "chain"),
                        chain->value("lines", std::uint64_t{0}),
                        chain->value("signed", false) ? "signed" : "not signed",
                        word_of(*chain, "head"));
  if (store.contains("kept_for"))
    text +=
        fmt::format("  --local-retention removes nothing more: {}\n", store.value("kept_for", ""));
  return text;
}

/// Until when those are valid that the connection to the server is made with.
std::string certificates_text(const Json& receiver) {
  const auto found = receiver.find("certificates");
  if (found == receiver.end() || !found->is_object()) return {};
  std::string text;
  if (found->contains("client_expires"))
    text += fmt::format("own until {}", word_of(*found, "client_expires"));
  if (found->contains("server_expires"))
    text += fmt::format("{}the server's until {}", text.empty() ? "" : ", ",
                        word_of(*found, "server_expires"));
  if (!text.empty()) text = "  certificates: " + text + "\n";
  if (found->contains("problem"))
    text +=
        fmt::format("  WARNING: no new connection could be made: {}\n", word_of(*found, "problem"));
  return text;
}

/// What a failover to each of the other servers would cost.
std::string candidates_text(const Json& receiver) {
  const auto candidates = receiver.find("candidates");
  if (candidates == receiver.end() || !candidates->is_array()) return {};
  std::string text;
  for (const auto& candidate : *candidates) {
    if (!candidate.is_object()) continue;
    text += fmt::format("  failover to {}: ", word_of(candidate, "host"));
    if (candidate.value("covered", false)) {
      text += fmt::format("covered, its slot keeps WAL from {} on", word_of(candidate, "slot_lsn"));
      if (const auto lag = candidate.find("slot_lag_bytes");
          lag != candidate.end() && lag->is_number_unsigned())
        text += fmt::format(" ({})", format_size(lag->get<std::uint64_t>()));
      text += "\n";
    } else if (candidate.contains("silent_since")) {
      text += fmt::format("not covered, no answer since {}: {}\n",
                          word_of(candidate, "silent_since"), word_of(candidate, "reason"));
      text +=
          word_of(candidate, "answered") == "-"
              ? "    its slot was not looked at before\n"
              : fmt::format("    at its last answer, {}, it was {}; its slot kept WAL from {} on\n",
                            word_of(candidate, "answered"),
                            candidate.value("was_covered", false) ? "covered" : "not covered",
                            word_of(candidate, "slot_lsn"));
    } else {
      text += fmt::format("not covered: {}\n", word_of(candidate, "reason"));
    }
  }
  return text;
}

/// --confirm stored: what the server was told, and so what its slot holds.
std::string confirmed_text(const Json& json) {
  if (text_of(json, "confirm") != "stored") return {};
  const auto told = wal::Lsn::parse(text_of(json, "confirmed_lsn"));
  const auto durable = wal::Lsn::parse(text_of(json, "flush_lsn"));
  if (!told || !durable) return {};
  if (!told->valid())
    return "  the server was told of no position (--confirm stored): its slot keeps all WAL from "
           "where it is\n";
  if (*told >= *durable) return "  the store has all of that, and the server was told so\n";
  return fmt::format(
      "  confirmed to the server: up to {} (--confirm stored); its slot keeps the other {} until "
      "the store has them\n",
      *told, format_size(*durable - *told));
}

/// How far the archive is durable.
std::string position_text(const Json& json) {
  if (!json.contains("flush_lsn")) return {};
  const auto lag = json.value("lag_bytes", std::uint64_t{0});
  return fmt::format("  durable up to {} on timeline {}{}\n  last message of the server: {}\n{}",
                     text_of(json, "flush_lsn"), text_of(json, "timeline"),
                     lag == 0 ? std::string(", caught up")
                              : fmt::format(", {} behind the server", format_size(lag)),
                     text_of(json, "last_message"), confirmed_text(json));
}

std::string syncs_text(const Json& json) {
  const auto syncs = json.find("syncs");
  if (syncs == json.end() || !syncs->is_object()) return {};
  const auto time = [&](const char* key) {
    const auto ms = syncs->value(key, 0.0);
    return ms < 1000 ? fmt::format("{:.3g} ms", ms) : fmt::format("{:.3g} s", ms / 1000);
  };
  return fmt::format(
      "  syncs of the last {} minutes: half took up to {}, 99 of 100 up to {}, the longest {}\n",
      syncs->value("seconds", 0) / 60, time("p50_ms"), time("p99_ms"), time("worst_ms"));
}

}  // namespace

std::string receiver_text(const StatusReport& report) {
  if (report.receiver_error) return fmt::format("Receiver: {}\n", *report.receiver_error);
  const auto json = receiver_json(report);
  if (json.is_null()) {
    std::string text = "Receiver: none runs\n";
    if (const auto& ended = report.ended) {
      text += fmt::format("  {}\n", ended->text());
      if (!ended->hint.empty()) text += fmt::format("  hint: {}\n", ended->hint);
    }
    return text;
  }
  auto text = fmt::format("Receiver: {}", text_of(json, "state"));
  if (const auto server = text_of(json, "server"); !server.empty())
    text += fmt::format(", server {}", server);
  text += fmt::format(", since {} (pid {})\n", text_of(json, "state_since"), text_of(json, "pid"));
  text += position_text(json) + syncs_text(json);
  if (const auto count = json.value("segments_to_compress", std::uint64_t{0}); count > 0)
    text += fmt::format("  to be compressed: {}\n", counted(count, "segment"));
  text += json.contains("slot") ? fmt::format("  slot: {}\n", text_of(json, "slot"))
                                : "  slot: none, the server may remove WAL before it is archived\n";
  text += candidates_text(json);
  if (json.contains("clients")) text += clients_text(json["clients"]);
  text += comparison_text(json);
  text += store_text(json) + certificates_text(json);
  if (json.contains("slot_warning"))
    text += fmt::format("  WARNING: {}\n", text_of(json, "slot_warning"));
  if (json.contains("last_error"))
    text += fmt::format("  last error: {}: {}\n", text_of(json, "last_error_time"),
                        text_of(json, "last_error"));
  return text;
}

}  // namespace weir::status
