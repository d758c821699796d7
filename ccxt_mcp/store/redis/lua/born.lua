return {birth()}
