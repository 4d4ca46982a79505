#include "relay/standby_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace weir::relay {

namespace {

/// A larger number would be a mistake: a name that is listed twice does not count twice.
constexpr std::size_t kMostCount = 10'000;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool goes_on_name(char c) { return begins_name(c) || is_digit(c) || c == '$'; }

struct Token {
  enum class Kind { name, number, any, first, sign, end };
  Kind kind = Kind::end;
  std::string text;
};

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) { advance(); }

  [[nodiscard]] const Token& now() const { return token_; }
  [[nodiscard]] bool at(char sign) const {
    return token_.kind == Token::Kind::sign && token_.text[0] == sign;
  }
  Token take() {
    auto taken = std::move(token_);
    advance();
    return taken;
  }
  void expect(char sign) {
    if (!at(sign)) fail(fmt::format("\"{}\" is missing", sign));
    advance();
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::usage, fmt::format("{} in \"{}\"", what, text_))
        .hint("Use ANY 1 (standby1, \"standby 2\") or FIRST 2 (a, b, c).");
  }

 private:
  void advance();

  const std::string& text_;
  std::size_t at_ = 0;
  Token token_;
};

void Reader::advance() {
  at_ = std::min(text_.find_first_not_of(" \t\n\r\f\v", at_), text_.size());
  token_ = {};
  if (at_ == text_.size()) return;
  const auto begin = at_;
  const char c = text_[at_++];
  if (c == '"') {
    token_.kind = Token::Kind::name;
    for (;;) {
      if (at_ == text_.size()) fail("unterminated quoted name");
      if (text_[at_] == '"') {
        if (text_.compare(at_, 2, "\"\"") != 0) break;
        ++at_;
      }
      token_.text += text_[at_++];
    }
    ++at_;
    return;
  }
  if (c == '*') {
    token_ = {Token::Kind::name, "*"};
    return;
  }
  if (begins_name(c) || is_digit(c)) {
    const auto goes_on = begins_name(c) ? goes_on_name : is_digit;
    while (at_ < text_.size() && goes_on(text_[at_])) ++at_;
    token_ = {is_digit(c) ? Token::Kind::number : Token::Kind::name,
              text_.substr(begin, at_ - begin)};
    if (same_name(token_.text, "any")) token_.kind = Token::Kind::any;
    if (same_name(token_.text, "first")) token_.kind = Token::Kind::first;
    return;
  }
  if (c != ',' && c != '(' && c != ')') fail(fmt::format("unexpected \"{}\"", c));
  token_ = {Token::Kind::sign, std::string(1, c)};
}

std::size_t read_count(Reader& reader) {
  if (reader.now().kind != Token::Kind::number) reader.fail("the number is missing");
  const auto count = parse_number<std::size_t>(reader.take().text);
  if (!count || *count < 1 || *count > kMostCount)
    reader.fail("the number must be greater than zero");
  return *count;
}

}  // namespace

StandbyNames StandbyNames::parse(const std::string& text) {
  Reader reader(text);
  StandbyNames read;
  const auto take_name = [&] {
    if (reader.now().kind != Token::Kind::name && reader.now().kind != Token::Kind::number)
      reader.fail("a name is missing");
    read.names_.push_back(reader.take().text);
  };
  const auto take_names = [&] {
    take_name();
    while (reader.at(',')) {
      reader.take();
      take_name();
    }
  };
  if (reader.now().kind == Token::Kind::any || reader.now().kind == Token::Kind::first) {
    read.any_ = reader.take().kind == Token::Kind::any;
    read.count_ = read_count(reader);
    reader.expect('(');
    take_names();
    reader.expect(')');
  } else if (reader.now().kind == Token::Kind::number) {
    // A number may also be a name: the following text decides.
    auto number = reader.take();
    if (reader.at('(')) {
      const auto count = parse_number<std::size_t>(number.text);
      if (!count || *count < 1 || *count > kMostCount)
        reader.fail("the number must be greater than zero");
      read.count_ = *count;
      reader.take();
      take_names();
      reader.expect(')');
    } else {
      read.names_.push_back(std::move(number.text));
      while (reader.at(',')) {
        reader.take();
        take_name();
      }
    }
  } else {
    take_names();
  }
  if (reader.now().kind != Token::Kind::end) reader.fail("unexpected text after the names");
  return read;
}

std::optional<std::size_t> StandbyNames::priority_of(std::string_view application_name) const {
  for (std::size_t i = 0; i < names_.size(); ++i)
    if (names_[i] == "*" || same_name(names_[i], application_name)) return i + 1;
  return std::nullopt;
}

wal::Lsn StandbyNames::reached(std::vector<Standby> standbys) const {
  if (standbys.size() < count_) return {};
  if (any_) {
    std::sort(standbys.begin(), standbys.end(),
              [](const Standby& a, const Standby& b) { return a.position > b.position; });
    return standbys[count_ - 1].position;
  }
  std::stable_sort(standbys.begin(), standbys.end(),
                   [](const Standby& a, const Standby& b) { return a.priority < b.priority; });
  const auto end = standbys.begin() + static_cast<std::ptrdiff_t>(count_);
  return std::min_element(
             standbys.begin(), end,
             [](const Standby& a, const Standby& b) { return a.position < b.position; })
      ->position;
}

}  // namespace weir::relay
