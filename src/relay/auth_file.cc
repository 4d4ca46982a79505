#include "relay/auth_file.h"

namespace weir::relay {

namespace {

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// Reads one line, with its continuations joined.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : text_(text) {}

  AuthLine read(std::size_t number) {
    AuthLine line{number, {}};
    for (;;) {
      std::vector<AuthToken> field;
      bool more = true;
      while (more) {
        const auto token = next(more);
        if (!token) break;
        field.push_back(*token);
      }
      if (unterminated_) line.wrong = "a quote is not closed";
      if (field.empty() || line.wrong) return line;
      line.fields.push_back(std::move(field));
    }
  }

 private:
  /// `more`: a comma follows, and so another one of the same field.
  std::optional<AuthToken> next(bool& more) {
    more = false;
    while (at_ < text_.size() && (is_blank(text_[at_]) || text_[at_] == ',')) ++at_;
    AuthToken token;
    bool quote = false;
    bool saw_quote = false;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (!quote && (is_blank(c) || c == '#' || c == ',')) break;
      if (c != '"') {
        token.text.push_back(c);
        continue;
      }
      if (!saw_quote && token.text.empty()) token.quoted = true;
      saw_quote = true;
      if (quote && at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        token.text.push_back('"');
        ++at_;
        continue;
      }
      quote = !quote;
    }
    unterminated_ = quote;
    if (at_ < text_.size() && text_[at_] == ',') {
      more = true;
      ++at_;
    } else if (at_ < text_.size() && text_[at_] == '#') {
      at_ = text_.size();
    }
    if (!saw_quote && token.text.empty()) return std::nullopt;
    return token;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool unterminated_ = false;
};

}  // namespace

std::vector<AuthLine> read_auth_file(std::string_view content) {
  std::vector<AuthLine> lines;
  std::string joined;
  std::size_t first = 0;
  for (std::size_t number = 1; !content.empty() || first != 0; ++number) {
    const auto end = content.find('\n');
    const auto text = content.substr(0, end);
    content = end == std::string_view::npos ? std::string_view() : content.substr(end + 1);
    if (first == 0) first = number;
    joined += text;
    if (joined.ends_with('\r')) joined.pop_back();
    if (!text.empty() && joined.ends_with('\\') && !content.empty()) {
      joined.pop_back();
      continue;
    }
    // Text after a null byte would be missing in a message.
    auto line = joined.find('\0') == std::string::npos ? LineReader(joined).read(first)
                                                       : AuthLine{first, {}, "it has a NUL byte"};
    if (!line.fields.empty() || line.wrong) lines.push_back(std::move(line));
    joined.clear();
    first = 0;
  }
  return lines;
}

}  // namespace weir::relay
