#include "logical/borders.h"

#include <algorithm>

namespace weir::logical {

namespace {

bool is_off(const std::optional<std::string>& value) {
  return value && (*value == "0" || *value == "off" || *value == "false" || *value == "no" ||
                   *value == "f" || *value == "n");
}

const std::optional<std::string>* find(const pq::PluginOptions& options, std::string_view name) {
  // The last one counts, as to the plugins.
  const auto found = std::find_if(options.rbegin(), options.rend(),
                                  [&](const auto& option) { return option.first == name; });
  return found == options.rend() ? nullptr : &found->second;
}

bool is_on(const pq::PluginOptions& options, std::string_view name) {
  const auto* value = find(options, name);
  return value != nullptr && !is_off(*value);
}

}  // namespace

std::optional<wal::Lsn> Borders::after_message(wal::Lsn start, std::string_view message) {
  switch (plugin_) {
    case Plugin::test_decoding: {
      // "COMMIT", "COMMIT 735", "COMMIT PREPARED 'g'"; a row's change begins with "table "
      if (message.starts_with("COMMIT PREPARED") || message.starts_with("ROLLBACK PREPARED") ||
          message.starts_with("preparing streamed transaction")) {
        end_named(message);
        return border(start);
      }
      if (message.starts_with("COMMIT") || message.starts_with("PREPARE TRANSACTION"))
        return border(start);
      constexpr std::string_view kOpen = "opening a streamed block for transaction";
      constexpr std::string_view kEnds[] = {"committing streamed transaction",
                                            "aborting streamed (sub)transaction"};
      if (message.starts_with(kOpen)) open(message.substr(kOpen.size()), true);
      for (const auto end : kEnds) {
        if (!message.starts_with(end)) continue;
        open(message.substr(end.size()), false);
        return border(start);
      }
      return std::nullopt;
    }
    case Plugin::pgoutput: {
      if (message.empty()) return std::nullopt;
      const auto xid = [&](std::size_t at) {
        return message.size() < at + 4 ? std::string_view() : message.substr(at, 4);
      };
      switch (message[0]) {
        case 'C':  // Commit
        case 'P':  // Prepare
          return border(start);
        case 'K':  // Commit Prepared: flags, LSN, LSN, time, xid
          open_.erase(std::string(xid(1 + 1 + 8 + 8 + 8)));
          return border(start);
        case 'r':  // Rollback Prepared: flags, LSN, LSN, time, time, xid
          open_.erase(std::string(xid(1 + 1 + 8 + 8 + 8 + 8)));
          return border(start);
        case 'S':  // Stream Start: xid, first segment
          open_.emplace(xid(1));
          return std::nullopt;
        case 'c':  // Stream Commit: xid
          open_.erase(std::string(xid(1)));
          return border(start);
        case 'p':  // Stream Prepare: flags, LSN, LSN, time, xid
          open_.erase(std::string(xid(1 + 1 + 8 + 8 + 8)));
          return border(start);
        case 'A':  // Stream Abort: xid, xid of the subtransaction
          if (xid(1) != xid(5)) return std::nullopt;
          open_.erase(std::string(xid(1)));
          return border(start);
        default:
          return std::nullopt;
      }
    }
    case Plugin::wal2json:
      return message.starts_with(R"({"action":"C")") ? border(start) : std::nullopt;
    case Plugin::wal2json_documents: {
      // One document for each transaction, starting with the position of its first record; the
      // commit's position is in the document, if requested, before anything that comes from a row.
      const auto head = message.substr(0, message.find(R"("change":)"));
      constexpr std::string_view kNext = R"("nextlsn":")";
      const auto at = head.find(kNext);
      if (at == std::string_view::npos) return std::nullopt;
      const auto rest = head.substr(at + kNext.size());
      const auto position = wal::Lsn::parse(rest.substr(0, rest.find('"')));
      return position ? border(*position) : std::nullopt;
    }
    case Plugin::other:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<wal::Lsn> Borders::at_keepalive(const wire::Keepalive& keepalive) {
  if (keepalive.reply_requested) return std::nullopt;
  return border(keepalive.server_end);
}

void Borders::reset() { open_.clear(); }

std::optional<wal::Lsn> Borders::border(wal::Lsn position) const {
  if (!open_.empty() || !position.valid()) return std::nullopt;
  return position;
}

/// `message`: "COMMIT PREPARED 'g', txid 735", and more.
void Borders::end_named(std::string_view message) {
  constexpr std::string_view kXid = ", txid ";
  const auto at = message.rfind(kXid);  // what is in front of it may be part of the name
  if (at == std::string_view::npos) return;
  const auto xid = message.substr(at + kXid.size());
  const auto found = open_.find(xid.substr(0, xid.find_first_not_of("0123456789")));
  if (found != open_.end()) open_.erase(found);
}

/// `text`: " TXN 735", and more.
void Borders::open(std::string_view text, bool is_open) {
  constexpr std::string_view kTxn = " TXN ";
  std::string_view xid;
  if (text.starts_with(kTxn)) {
    xid = text.substr(kTxn.size());
    xid = xid.substr(0, xid.find_first_not_of("0123456789"));
  }
  if (is_open)
    open_.emplace(xid);
  else if (const auto found = open_.find(xid); found != open_.end())
    open_.erase(found);
}

Borders::Borders(std::string_view plugin, const pq::PluginOptions& options) {
  if (plugin == "test_decoding") {
    plugin_ = Plugin::test_decoding;
    const auto* xids = find(options, "include-xids");
    if (is_on(options, "stream-changes") && xids != nullptr && is_off(*xids))
      throw Error(ErrorKind::usage,
                  "stream-changes without include-xids does not identify streamed transactions")
          .hint("Omit include-xids=0, so that the end of each transaction can be determined.");
  } else if (plugin == "pgoutput") {
    plugin_ = Plugin::pgoutput;
  } else if (plugin == "wal2json") {
    const auto* version = find(options, "format-version");
    const bool rows = version != nullptr && *version == "2";
    plugin_ = rows ? Plugin::wal2json : Plugin::wal2json_documents;
    // The pieces are not documents, and only the keepalives show their end.
    if (!rows && is_on(options, "write-in-chunks")) plugin_ = Plugin::other;
  } else {
    for (const auto& [name, value] : options) {
      if (name.find("stream") != std::string::npos && !is_off(value))
        throw Error(ErrorKind::usage,
                    "complete transactions cannot be distinguished from parts of streamed ones "
                    "in the output of an unknown plugin")
            .with("plugin", plugin)
            .with("option", name)
            .hint("Omit the option, or use --no-state: then a restart may repeat changes.");
    }
  }
}

}  // namespace weir::logical
