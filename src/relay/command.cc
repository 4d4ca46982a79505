// The grammar of replication/repl_gram.y, the tokens of replication/repl_scanner.l (15; 13 to 18
// differ in options, not in syntax).

#include "relay/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/text.h"
#include "relay/identifier.h"

namespace weir::relay {

namespace {

enum class Kind { end, keyword, identifier, text, number, position, other };

struct Token {
  Kind kind = Kind::end;
  std::string text{};  ///< a keyword's name, an identifier, a text; one character of another kind
  std::uint32_t number = 0;
  wal::Lsn position{};
};

/// Thrown and caught in this file only: a command that cannot be parsed.
struct Refused {
  wire::ErrorReport report;
};

[[noreturn]] void refuse(std::string message) { throw Refused{{"42601", std::move(message)}}; }
[[noreturn]] void syntax_error() { refuse("syntax error"); }

constexpr std::string_view kKeywords[] = {
    "BASE_BACKUP",
    "IDENTIFY_SYSTEM",
    "READ_REPLICATION_SLOT",
    "SHOW",
    "TIMELINE",
    "START_REPLICATION",
    "TIMELINE_HISTORY",
    "CREATE_REPLICATION_SLOT",
    "DROP_REPLICATION_SLOT",
    "PHYSICAL",
    "RESERVE_WAL",
    "LOGICAL",
    "SLOT",
    "TEMPORARY",
    "TWO_PHASE",
    "EXPORT_SNAPSHOT",
    "NOEXPORT_SNAPSHOT",
    "USE_SNAPSHOT",
    "WAIT",
};

constexpr bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}
constexpr bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::string cut(std::string name) {
  if (name.size() >= kNameLength) name.resize(kNameLength - 1);
  return name;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// The longest token, as flex matches it.
  Token next() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    if (at_ == text_.size()) return {};
    const char first = text_[at_];
    if (first == '\'') return {Kind::text, quoted('\'')};
    if (first == '"') return {Kind::identifier, cut(quoted('"'))};
    if (const auto length = position_length(); length > 0) return position(take(length));
    if (is_digit(first)) return number(take(length_of(is_digit)));
    if (begins_name(first)) return name(take(length_of(continues_name)));
    return {Kind::other, std::string(take(1))};
  }

 private:
  std::size_t length_of(bool (*belongs)(char)) const {
    const auto rest = text_.substr(at_);
    const auto end = std::find_if_not(rest.begin(), rest.end(), [&](char c) { return belongs(c); });
    return static_cast<std::size_t>(end - rest.begin());
  }

  /// Length of hex digits, a slash and hex digits; 0 if the text is different.
  std::size_t position_length() const {
    const auto high = length_of(is_hex);
    if (high == 0 || at_ + high >= text_.size() || text_[at_ + high] != '/') return 0;
    auto end = at_ + high + 1;
    while (end < text_.size() && is_hex(text_[end])) ++end;
    return end == at_ + high + 1 ? 0 : end - at_;
  }

  std::string_view take(std::size_t length) {
    const auto taken = text_.substr(at_, length);
    at_ += length;
    return taken;
  }

  static Token position(std::string_view text) {
    const auto lsn = wal::Lsn::parse(text);
    if (!lsn) refuse("invalid streaming start location");
    return {Kind::position, std::string(text), 0, *lsn};
  }

  static Token number(std::string_view text) {
    const auto value = parse_number<std::uint32_t>(text);
    if (!value) syntax_error();
    return {Kind::number, std::string(text), *value};
  }

  static Token name(std::string_view text) {
    if (std::find(std::begin(kKeywords), std::end(kKeywords), text) != std::end(kKeywords))
      return {Kind::keyword, std::string(text)};
    return {Kind::identifier, cut(lower(text))};
  }

  /// A doubled quote is one quote of the text; in names since the minor releases of August 2026
  /// (before, a server called it a syntax error).
  std::string quoted(char quote) {
    std::string result;
    for (++at_;; ++at_) {
      if (at_ >= text_.size()) refuse("unterminated quoted string");
      if (text_[at_] != quote) {
        result.push_back(text_[at_]);
        continue;
      }
      if (at_ + 1 < text_.size() && text_[at_ + 1] == quote) {
        result.push_back(quote);
        ++at_;
        continue;
      }
      ++at_;
      return result;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), scanner_(text), token_(scanner_.next()) {}

  Command command() {
    const auto parsed = first_word();
    if (!parsed) return command::Sql{};
    if (token_.kind == Kind::other && token_.text == ";") advance();
    if (token_.kind != Kind::end) syntax_error();
    return *parsed;
  }

 private:
  std::optional<Command> first_word() {
    if (token_.kind != Kind::keyword) return std::nullopt;
    if (skip("IDENTIFY_SYSTEM")) return command::IdentifySystem{};
    if (skip("SHOW")) return command::Show{dotted_name()};
    if (skip("TIMELINE_HISTORY")) return command::TimelineHistory{timeline()};
    if (skip("READ_REPLICATION_SLOT")) return command::ReadSlot{dotted_name()};
    if (skip("CREATE_REPLICATION_SLOT")) return create_slot();
    if (skip("DROP_REPLICATION_SLOT")) {
      auto slot = identifier();
      return command::DropSlot{std::move(slot), skip("WAIT")};
    }
    if (skip("START_REPLICATION")) return start();
    if (skip("BASE_BACKUP")) {
      if (at_other("("))
        static_cast<void>(options());
      else
        old_backup_options();
      return command::BaseBackup{std::string(text_)};
    }
    return std::nullopt;
  }

  Command create_slot() {
    command::CreateSlot create;
    create.slot = identifier();
    create.temporary = skip("TEMPORARY");
    if (skip("LOGICAL"))
      create.plugin = identifier();
    else
      need("PHYSICAL");
    if (at_other("(")) {
      create.options = options();
      return create;
    }
    for (;;) {
      if (skip("RESERVE_WAL"))
        create.options.push_back({"reserve_wal", "true"});
      else if (skip("TWO_PHASE"))
        create.options.push_back({"two_phase", "true"});
      else if (skip("EXPORT_SNAPSHOT"))
        create.options.push_back({"snapshot", "export"});
      else if (skip("NOEXPORT_SNAPSHOT"))
        create.options.push_back({"snapshot", "nothing"});
      else if (skip("USE_SNAPSHOT"))
        create.options.push_back({"snapshot", "use"});
      else
        return create;
    }
  }

  Command start() {
    std::optional<std::string> slot;
    if (skip("SLOT")) slot = identifier();
    if (slot && skip("LOGICAL")) {
      static_cast<void>(position());
      if (at_other("(")) plugin_options();
      return command::StartLogical{*slot};
    }
    static_cast<void>(skip("PHYSICAL"));
    command::StartReplication start{slot, position(), 0};
    if (skip("TIMELINE")) start.timeline = timeline();
    return start;
  }

  /// "( name [value], … )": a keyword is a name here, too.
  std::vector<command::Option> options() {
    std::vector<command::Option> options;
    do {
      advance();  // the parenthesis, or the comma
      if (token_.kind != Kind::identifier && token_.kind != Kind::keyword) syntax_error();
      const bool keyword = token_.kind == Kind::keyword;
      auto name = take();
      command::Option option{keyword ? lower(name) : std::move(name), std::nullopt};
      if (token_.kind == Kind::identifier || token_.kind == Kind::text ||
          token_.kind == Kind::number)
        option.value = take();
      options.push_back(std::move(option));
    } while (at_other(","));
    need_other(")");
    return options;
  }

  /// For 14 and earlier: words in any order, some with a value.
  void old_backup_options() {
    while (token_.kind != Kind::end && token_.kind != Kind::other) advance();
  }

  void plugin_options() {
    do {
      advance();
      static_cast<void>(identifier());
      if (token_.kind == Kind::text) advance();
    } while (at_other(","));
    need_other(")");
  }

  std::string dotted_name() {
    auto name = identifier();
    while (at_other(".")) {
      advance();
      name += "." + identifier();
    }
    return name;
  }

  std::string identifier() {
    if (token_.kind != Kind::identifier) syntax_error();
    return take();
  }

  wal::Lsn position() {
    if (token_.kind != Kind::position) syntax_error();
    const auto at = token_.position;
    advance();
    return at;
  }

  wal::TimelineId timeline() {
    if (token_.kind != Kind::number) syntax_error();
    const auto timeline = token_.number;
    if (timeline == 0) refuse("invalid timeline 0");
    advance();
    return timeline;
  }

  std::string take() {
    auto text = std::move(token_.text);
    advance();
    return text;
  }
  bool skip(std::string_view keyword) {
    if (token_.kind != Kind::keyword || token_.text != keyword) return false;
    advance();
    return true;
  }
  void need(std::string_view keyword) {
    if (!skip(keyword)) syntax_error();
  }
  [[nodiscard]] bool at_other(std::string_view text) const {
    return token_.kind == Kind::other && token_.text == text;
  }
  void need_other(std::string_view text) {
    if (!at_other(text)) syntax_error();
    advance();
  }
  void advance() { token_ = scanner_.next(); }

  std::string_view text_;
  Scanner scanner_;
  Token token_;
};

}  // namespace

std::variant<Command, wire::ErrorReport> parse_command(std::string_view text) {
  try {
    return Parser(text).command();
  } catch (const Refused& refused) {
    return refused.report;
  }
}

}  // namespace weir::relay
