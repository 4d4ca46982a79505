#include "relay/standby_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "relay/identifier.h"

namespace weir::relay {

namespace {

/// A larger number would be a mistake: a name that is listed twice does not count twice.
constexpr std::size_t kMostCount = 10'000;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

struct Word {
  enum class Kind { name, number, any, first, sign, end };
  Kind kind = Kind::end;
  std::string text;
};

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) { advance(); }

  [[nodiscard]] const Word& now() const { return word_; }
  [[nodiscard]] bool at(char sign) const {
    return word_.kind == Word::Kind::sign && word_.text[0] == sign;
  }
  Word take() {
    auto taken = std::move(word_);
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
  Word word_;
};

void Reader::advance() {
  at_ = std::min(text_.find_first_not_of(" \t\n\r\f\v", at_), text_.size());
  word_ = {};
  if (at_ == text_.size()) return;
  const auto begin = at_;
  const char c = text_[at_++];
  if (c == '"') {
    word_.kind = Word::Kind::name;
    for (;;) {
      if (at_ == text_.size()) fail("unterminated quoted name");
      if (text_[at_] == '"') {
        if (text_.compare(at_, 2, "\"\"") != 0) break;
        ++at_;
      }
      word_.text += text_[at_++];
    }
    ++at_;
    return;
  }
  if (c == '*') {
    word_ = {Word::Kind::name, "*"};
    return;
  }
  if (begins_name(c) || is_digit(c)) {
    const auto goes_on = begins_name(c) ? continues_name : is_digit;
    while (at_ < text_.size() && goes_on(text_[at_])) ++at_;
    word_ = {is_digit(c) ? Word::Kind::number : Word::Kind::name, text_.substr(begin, at_ - begin)};
    if (same_name(word_.text, "any")) word_.kind = Word::Kind::any;
    if (same_name(word_.text, "first")) word_.kind = Word::Kind::first;
    return;
  }
  if (c != ',' && c != '(' && c != ')') fail(fmt::format("unexpected \"{}\"", c));
  word_ = {Word::Kind::sign, std::string(1, c)};
}

std::size_t read_count(Reader& reader) {
  if (reader.now().kind != Word::Kind::number) reader.fail("the number is missing");
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
    if (reader.now().kind != Word::Kind::name && reader.now().kind != Word::Kind::number)
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
  if (reader.now().kind == Word::Kind::any || reader.now().kind == Word::Kind::first) {
    read.any_ = reader.take().kind == Word::Kind::any;
    read.count_ = read_count(reader);
    reader.expect('(');
    take_names();
    reader.expect(')');
  } else if (reader.now().kind == Word::Kind::number) {
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
  if (reader.now().kind != Word::Kind::end) reader.fail("unexpected text after the names");
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
